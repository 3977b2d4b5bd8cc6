"""Collect: one watch per cluster sees pods end; their outcomes are committed in groups, then the pods are deleted.

Before it: `launch` created the pods. `watch` follows one cluster, `committer` stores what all watches found,
`leases` shares the clusters out among collectors, `collector` is the process. Next stage: `response`.
"""

from kubeprobe.execution.collect.collector import Collector, CollectorParts

__all__ = ["Collector", "CollectorParts"]
