"""What beat issues: periodic runs from the store, and wakes for what waits there.

`celery -A beat_schedule beat -S beat_schedule.SlotScheduler`. Start as many beats as you like: the store decides who
issues what. The app here knows no tasks, only their names, so that beat and Flower start without loading what workers
need.
"""

import threading
from typing import Any

import structlog
from celery import Celery, signals
from celery.beat import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe import metrics
from kubeprobe.clock import Clock
from kubeprobe.effects import dispatch
from kubeprobe.logs import configure_logs
from kubeprobe.metrics.listener import serve_metrics
from kubeprobe.queue import Publisher, Queue, celery_config
from kubeprobe.settings import Settings
from kubeprobe.store import Store, StoreClock, open_store
from kubeprobe.store.migrate import check_schema
from kubeprobe.trigger import issue_due, wake_workers

log = structlog.get_logger(__name__)

LONGEST_WAIT_S = 1.0
WAKE_EVERY_S = 1.0

app = Celery("kubeprobe", set_as_current=False)
# A function, so that the environment is read when the process starts and not when this is imported.
app.add_defaults(lambda: celery_config(Settings().broker()))


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(Settings().log_format, process="beat")


@signals.beat_init.connect
def _start_waking(sender: Any, **_: Any) -> None:
    threading.Thread(target=sender.scheduler.wake_until_closed, name="waking", daemon=True).start()


class SlotScheduler(Scheduler):  # type: ignore[misc]
    """Issues due slots from the store, in batches, and never waits for the broker; a thread of it wakes workers."""

    store: Store
    settings: Settings
    queue: Publisher
    clock: Clock

    def setup_schedule(self) -> None:
        """Open the store; beat calls this once, when it starts."""
        self.settings = Settings()
        self.store = open_store(self.settings.database(), self.settings.statement_timeout)
        check_schema(self.store)
        self.clock = StoreClock(self.store, "beat")
        self.queue = Publisher(self.app, self.clock)
        self._waking_queue = Queue(self.app, self.clock)
        self._closed = threading.Event()
        serve_metrics(self.settings, "beat")

    def tick(self, *_: Any, **__: Any) -> float:
        """Issue what is due; gives the seconds until something is due again."""
        try:
            return self._issue()
        except SQLAlchemyError as error:
            log.error("database unavailable; no slots issued", error=str(error))
            return LONGEST_WAIT_S

    def wake(self) -> None:
        """Wake workers for what waits in the store."""
        try:
            wake_workers(self.store, self._waking_queue, self.clock(), self.settings)
        except SQLAlchemyError as error:
            log.error("database unavailable; no workers woken", error=str(error))
        except Exception:  # none may end the thread
            log.exception("no workers woken")

    def wake_until_closed(self) -> None:
        """Wake workers again and again; beat's second thread."""
        while not self._closed.wait(WAKE_EVERY_S):
            self.wake()

    def close(self) -> None:
        """Beat ends: publish what is pending."""
        self._closed.set()
        self.queue.close()
        super().close()

    def _issue(self) -> float:
        tick = issue_due(self.store, self.clock(), self.settings)
        dispatch(self.queue, tick.effects, self.settings.batch_size)
        metrics.LAST_TICK.set_to_current_time()
        if tick.next_due is None:
            return LONGEST_WAIT_S
        return min(max(0.0, (tick.next_due - self.clock()).total_seconds()), LONGEST_WAIT_S)
