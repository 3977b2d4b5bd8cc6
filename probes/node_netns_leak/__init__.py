"""Inspection: what a node keeps of pods that are no more, as a bad upgrade of CNI or kubelet leaves it."""
