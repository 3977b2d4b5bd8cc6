"""Triggers: a slot is due, a change arrived, a person asked. Each opens Run rows and wakes a launcher.

Before it: `catalog` says what is bound to which clusters. Next stage: `execution` launches the runs.
"""

from kubeprobe.trigger.change import tell_change
from kubeprobe.trigger.manual import Request, request_runs
from kubeprobe.trigger.open import Opening, open_runs
from kubeprobe.trigger.periodic import Tick, issue_due
from kubeprobe.trigger.resend import due_wakes

__all__ = ["Opening", "Request", "Tick", "due_wakes", "issue_due", "open_runs", "request_runs", "tell_change"]
