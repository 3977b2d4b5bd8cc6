"""Inspection: what runs full or out of step on a node long before Kubernetes calls it unready."""
