"""Triggers: a slot is due, a change was recorded, a person requests runs. Each opens runs, for launchers to take.

Before it: `catalog` has the bindings of cases to clusters. Next stage: `execution` launches the runs.
"""

from kubeprobe.trigger.change import RecordedChange, delete_old_changes, record_change
from kubeprobe.trigger.housekeeping import claim_housekeeping, continue_housekeeping, due_housekeeping
from kubeprobe.trigger.manual import RunRequest, request_runs
from kubeprobe.trigger.periodic import Tick, issue_due
from kubeprobe.trigger.waking import wake_workers

__all__ = [
    "RecordedChange",
    "RunRequest",
    "Tick",
    "claim_housekeeping",
    "continue_housekeeping",
    "delete_old_changes",
    "due_housekeeping",
    "issue_due",
    "record_change",
    "request_runs",
    "wake_workers",
]
