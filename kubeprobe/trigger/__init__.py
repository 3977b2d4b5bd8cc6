"""Triggers: a slot is due, a change arrived, a person asked. Each opens runs and wakes a launcher.

Before it: `catalog` says what is bound to which clusters. Next stage: `execution` launches the runs.
"""

from kubeprobe.trigger.change import record_change
from kubeprobe.trigger.manual import Request, request_runs
from kubeprobe.trigger.periodic import Tick, issue_due

__all__ = ["Request", "Tick", "issue_due", "record_change", "request_runs"]
