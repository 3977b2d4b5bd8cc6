"""Inspection: components outside the supported version skew, and deprecated API versions that are still requested."""
