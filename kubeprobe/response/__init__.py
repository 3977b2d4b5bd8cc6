"""Response: outcomes become standings, alerts and notifications. The last stage of a run.

`respond` folds pending outcomes and fills the outbox, in one transaction; `deliver` sends a notification from there.
It doesn't import `execution`: they meet in the store. `views` read what it writes.
"""

from kubeprobe.response.deliver import deliver, due_notifications
from kubeprobe.response.housekeeping import close_withdrawn, delete_old_alerts, due_effects, repeat_alerts
from kubeprobe.response.outcomes import count_unprocessed_outcomes
from kubeprobe.response.respond import BATCH, respond

__all__ = [
    "BATCH",
    "close_withdrawn",
    "count_unprocessed_outcomes",
    "delete_old_alerts",
    "deliver",
    "due_effects",
    "due_notifications",
    "repeat_alerts",
    "respond",
]
