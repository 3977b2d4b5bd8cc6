"""Inspection: problems of a node, such as full tables and a wrong clock, long before it becomes NotReady."""
