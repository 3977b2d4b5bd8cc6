"""What beat issues: periodic runs from the store, and the housekeeping below.

`celery -A beat_schedule beat -S beat_schedule.SlotScheduler`. Start as many beats as you like: the store decides who
issues what, and housekeeping done twice does no harm. The app here knows no tasks, only their names, so that beat and
Flower start without loading what workers need.
"""

from datetime import timedelta
from typing import Any

import structlog
from celery import Celery, signals
from celery.beat import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe import metrics
from kubeprobe.clock import utc_now
from kubeprobe.effects import Effects, dispatch
from kubeprobe.logs import configure_logs
from kubeprobe.metrics.listener import serve_metrics
from kubeprobe.queue import HOUSEKEEPING_QUEUE, Queue, Task, celery_config
from kubeprobe.runs import resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Store, open_store
from kubeprobe.store.migrate import check_schema
from kubeprobe.trigger import issue_due

log = structlog.get_logger(__name__)

EVERY = {
    Task.EXPIRE: timedelta(seconds=5),
    Task.RESEND_NOTIFICATIONS: timedelta(seconds=5),
    Task.SYNC_SOURCES: timedelta(seconds=5),
    Task.REPEAT_ALERTS: timedelta(minutes=1),
    Task.FORGET: timedelta(hours=1),
}
HOUSEKEEPING: dict[str, dict[str, Any]] = {
    task.value: {"task": task.value, "schedule": every, "options": {"queue": HOUSEKEEPING_QUEUE}}
    for task, every in EVERY.items()
}
LONGEST_WAIT_S = 1.0


app = Celery("kubeprobe", set_as_current=False)
# A function, so that the environment is read when the process starts and not when this is imported.
app.add_defaults(lambda: celery_config(Settings().broker()))


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(Settings().log_format, process="beat")


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
        serve_metrics(self.settings, "beat")

    @property
    def producer(self) -> None:
        """None: each message takes a pooled producer, which fails at once where beat's own waits for the broker."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Issue what is due; gives the seconds until something is due again."""
        try:
            wait = self._issue()
        except SQLAlchemyError as error:
            log.error("database unavailable; no slots issued", error=str(error))
            wait = LONGEST_WAIT_S
        return min(wait, float(super().tick(*args, **kwargs)))

    def _issue(self) -> float:
        now = utc_now()
        tick = issue_due(self.store, now, self.settings)
        waiting = Effects(launch=resend_overdue(self.store, now, self.settings))
        dispatch(self.queue, tick.effects + waiting, self.settings.batch_size)
        metrics.LAST_TICK.set_to_current_time()
        if tick.next_due is None:
            return LONGEST_WAIT_S
        return min(max(0.0, (tick.next_due - utc_now()).total_seconds()), LONGEST_WAIT_S)
