"""Inspection without code: the case has rules in CEL for a cluster's objects."""
