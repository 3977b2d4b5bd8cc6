"""Inspection: certificates that expire soon."""
