"""Inspection without code: what must be true of a cluster's objects is written in the case, in CEL."""
