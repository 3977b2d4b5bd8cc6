"""Triggers: a slot is due, a change was recorded, a person requests runs. Each opens runs, for launchers to take.

Before it: `catalog` has the bindings of cases to clusters. Next stage: `execution` launches the runs.
"""

from kubeprobe.trigger.change import RecordedChange, delete_old_changes, record_change
from kubeprobe.trigger.manual import RunRequest, request_runs
from kubeprobe.trigger.periodic import Tick, issue_due

__all__ = ["RecordedChange", "RunRequest", "Tick", "delete_old_changes", "issue_due", "record_change", "request_runs"]
