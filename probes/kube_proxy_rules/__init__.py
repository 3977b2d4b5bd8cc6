"""Inspection: compares what Services want with the rules that kube-proxy has really made on a node."""
