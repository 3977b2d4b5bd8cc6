"""Inspection: limits that are missing, contradict each other, or let through what they should hold back."""
