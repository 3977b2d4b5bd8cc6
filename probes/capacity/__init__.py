"""Inspection: nearly exhausted pods per node, pod and Service addresses and quotas; and unschedulable pods."""
