"""Inspection: names the certificates that run out soon."""
