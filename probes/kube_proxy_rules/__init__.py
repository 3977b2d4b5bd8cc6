"""Inspection: compares Services with the actual rules of kube-proxy on a node."""
