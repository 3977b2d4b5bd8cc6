"""Response: outcomes become standings, alerts and notifications. The last stage of a run.

`respond` folds pending outcomes and fills the outbox, in one transaction; `claim` chooses the next
message to a target from there, and `deliver` sends it.
It doesn't import `execution`: they meet in the store. `views` read what it writes.
"""

from kubeprobe.response.claim import due_targets
from kubeprobe.response.deliver import deliver, deliver_all
from kubeprobe.response.housekeeping import (
    close_withdrawn,
    delete_old_alerts,
    delete_old_errors,
    delete_removed_targets,
    due_effects,
    notify_deferred,
    repeat_alerts,
)
from kubeprobe.response.outcomes import count_unprocessed_outcomes
from kubeprobe.response.respond import BATCH, respond

__all__ = [
    "BATCH",
    "close_withdrawn",
    "count_unprocessed_outcomes",
    "delete_old_alerts",
    "delete_old_errors",
    "delete_removed_targets",
    "deliver",
    "deliver_all",
    "due_effects",
    "due_targets",
    "notify_deferred",
    "repeat_alerts",
    "respond",
]
