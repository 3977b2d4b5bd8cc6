"""Inspection: what will hurt at the next node drain or webhook restart: budgets, single replicas, closed webhooks."""
