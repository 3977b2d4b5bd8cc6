"""Inspection: what is nearly used up: pods per node, pod and Service addresses, quotas; and pods that find no node."""
