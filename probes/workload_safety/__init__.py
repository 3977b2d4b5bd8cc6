"""Inspection: risks at the next node drain or webhook restart: budgets, single replicas, webhooks that fail closed."""
