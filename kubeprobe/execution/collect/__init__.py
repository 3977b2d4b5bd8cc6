"""Collect: one watch per cluster observes ended pods; outcomes are committed in groups, then the pods are deleted.

Before it: `launch` created the pods. `watch` follows one cluster, `committer` stores the outcomes of all watches,
`leases` distributes the clusters among collectors, `collector` is the process. Next stage: `response`.
"""

from kubeprobe.execution.collect.collector import Collector, CollectorContext

__all__ = ["Collector", "CollectorContext"]
