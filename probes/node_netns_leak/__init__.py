"""Inspection: leftovers of deleted pods on a node, for example after a bad upgrade of CNI or kubelet."""
