"""Response: outcomes become standings, alerts and messages to people. The last stage of a run's way.

`respond` folds unanswered outcomes and fills the outbox, in one transaction; `deliver` sends a message from there.
Of `execution` it knows nothing: they meet in the store. `views` read what it writes.
"""

from kubeprobe.response.deliver import deliver, due_notifications
from kubeprobe.response.housekeeping import close_withdrawn, forget_alerts, overdue, repeat_alerts
from kubeprobe.response.outcomes import unanswered
from kubeprobe.response.respond import BATCH, respond

__all__ = [
    "BATCH",
    "close_withdrawn",
    "deliver",
    "due_notifications",
    "forget_alerts",
    "overdue",
    "repeat_alerts",
    "respond",
    "unanswered",
]
