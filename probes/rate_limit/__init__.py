"""Inspection: limits that are missing, contradictory or ineffective."""
