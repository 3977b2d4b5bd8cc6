"""What beat issues: periodic runs from the store, and the housekeeping below.

`celery -A workers.app beat -S beat_schedule.SlotScheduler`. Start as many beats as you like: the store decides who
issues what, and housekeeping done twice does no harm.
"""

from datetime import timedelta
from typing import Any

import structlog
from celery.beat import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe.clock import utc_now
from kubeprobe.queue import Queue, Task, wakes_for
from kubeprobe.settings import Settings
from kubeprobe.store import Store, open_store
from kubeprobe.store.migrate import check_schema
from kubeprobe.trigger import due_wakes, issue_due

log = structlog.get_logger(__name__)

HOUSEKEEPING: dict[str, dict[str, Any]] = {
    "expire runs": {"task": Task.EXPIRE, "schedule": timedelta(seconds=5)},
    "resend notifications": {"task": Task.RESEND_NOTIFICATIONS, "schedule": timedelta(seconds=5)},
    "repeat alerts": {"task": Task.REPEAT_ALERTS, "schedule": timedelta(seconds=60)},
    "forget old outcomes": {"task": Task.FORGET, "schedule": timedelta(hours=1)},
}
LONGEST_WAIT_S = 1.0


class SlotScheduler(Scheduler):  # type: ignore[misc]
    """Issues due slots from the store, in batches, besides the few entries of HOUSEKEEPING."""

    store: Store
    settings: Settings
    queue: Queue

    def setup_schedule(self) -> None:
        """Open the store; beat calls this once, when it starts."""
        self.settings = Settings()
        self.store = open_store(self.settings.database())
        check_schema(self.store)
        self.queue = Queue(self.app)
        self.update_from_dict(HOUSEKEEPING)

    @property
    def producer(self) -> None:
        """None: each message takes a pooled producer, which fails at once where beat's own waits for the broker."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Issue what is due; gives the seconds until something is due again."""
        try:
            wait = self._issue()
        except SQLAlchemyError as error:
            log.error("store away; nothing issued", told=str(error))
            wait = LONGEST_WAIT_S
        return min(wait, float(super().tick(*args, **kwargs)))

    def _issue(self) -> float:
        now = utc_now()
        tick = issue_due(self.store, now, self.settings)
        waiting = [*tick.opened, *due_wakes(self.store, now, self.settings)]
        self.queue.wake_launchers(wakes_for(waiting, self.settings.batch_size))
        for wake in wakes_for(tick.replaced, self.settings.batch_size):
            self.queue.remove_pods(wake.pool, wake.cluster, wake.run_ids)
        if tick.ended:
            self.queue.wake_responder()
        if tick.next_due is None:
            return LONGEST_WAIT_S
        return min(max(0.0, (tick.next_due - utc_now()).total_seconds()), LONGEST_WAIT_S)
