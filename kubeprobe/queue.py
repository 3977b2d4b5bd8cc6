"""The queue: names of queues and tasks, and messages that wake workers, with ids only.

Below all stages. The store is the truth and the broker only wakes (promise 2): a lost message is sent again from the
store, so publishing never raises for an unavailable broker. It never imports workers.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import structlog
from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError

log = structlog.get_logger(__name__)

RESPONSE_QUEUE = "response"
REQUEST_QUEUE = "request"
HOUSEKEEPING_QUEUE = "housekeeping"
LENGTHS_WITHIN_S = 2.0


class Task(StrEnum):
    """The tasks that workers serve; `workers/` binds each to one function of kubeprobe."""

    LAUNCH = "kubeprobe.launch"
    REMOVE_PODS = "kubeprobe.remove_pods"
    RESPOND = "kubeprobe.respond"
    DELIVER = "kubeprobe.deliver"
    EXPIRE = "kubeprobe.expire"
    FORGET = "kubeprobe.forget"
    RESEND_NOTIFICATIONS = "kubeprobe.resend_notifications"
    REPEAT_ALERTS = "kubeprobe.repeat_alerts"
    RUN_PROBE = "kubeprobe.run_probe"
    SYNC_SOURCES = "kubeprobe.sync_sources"


ROUTES = {
    Task.RESPOND: RESPONSE_QUEUE,
    Task.DELIVER: RESPONSE_QUEUE,
    Task.EXPIRE: HOUSEKEEPING_QUEUE,
    Task.FORGET: HOUSEKEEPING_QUEUE,
    Task.REPEAT_ALERTS: HOUSEKEEPING_QUEUE,
    Task.RESEND_NOTIFICATIONS: HOUSEKEEPING_QUEUE,
    Task.RUN_PROBE: REQUEST_QUEUE,
    Task.SYNC_SOURCES: HOUSEKEEPING_QUEUE,
}
"""Without the tasks of launchers: their queue is that of the cluster's pool."""


def launch_queue(pool: str) -> str:
    """One queue per pool, never one per cluster (failure mode 25)."""
    return f"launch.{pool}"


def is_launching(queue: str) -> bool:
    """Whether launchers serve a queue, and not responders."""
    return queue == REQUEST_QUEUE or queue.startswith(launch_queue(""))


class RunRef(Protocol):
    """What a message about a run needs."""

    @property
    def id(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def case(self) -> str: ...


@dataclass(frozen=True)
class RunBatch:
    """Runs of one cluster that one launcher handles; the message carries only their ids."""

    pool: str
    cluster: str
    run_ids: tuple[str, ...]
    cases: tuple[str, ...] = ()


def run_batches(runs: Iterable[RunRef], batch_size: int) -> list[RunBatch]:
    """Runs grouped by cluster, at most `batch_size` in each."""
    by_cluster: dict[tuple[str, str], list[RunRef]] = defaultdict(list)
    for run in runs:
        by_cluster[run.pool, run.cluster].append(run)
    return [
        RunBatch(pool, cluster, tuple(run.id for run in batch), tuple(sorted({run.case for run in batch})))
        for (pool, cluster), members in by_cluster.items()
        for batch in (members[i : i + batch_size] for i in range(0, len(members), batch_size))
    ]


def celery_config(broker_url: str) -> dict[str, Any]:
    """The configuration that every Celery process of an installation shares; the reasons are measured facts."""
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": 120,  # tasks are short; a late redelivery finds its run claimed
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "priority_steps": [0],  # one Redis list per queue: nothing here has a priority
            "socket_connect_timeout": 5,
            "health_check_interval": 10,
            # Publishing to an unavailable broker fails at once, not after 6 s: the store sends again.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        "broker_heartbeat": 0,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,  # outcomes are in the store
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_publish_retry": False,
        "task_send_sent_event": True,
        "task_default_queue": REQUEST_QUEUE,
        "task_routes": {task: {"queue": queue} for task, queue in ROUTES.items()},
        "task_create_missing_queues": True,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "timezone": "UTC",
        "enable_utc": True,
    }


class Queue:
    """Publishes messages. `app` is a Celery app: a worker's own, or `Queue.connect(...)` elsewhere."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    @classmethod
    def connect(cls, broker_url: str) -> "Queue":
        """A queue for a process other than a Celery worker (the command line, a collector)."""
        app = Celery("kubeprobe", set_as_current=False)
        app.conf.update(celery_config(broker_url))
        return cls(app)

    def wake_launchers(self, batches: Sequence[RunBatch]) -> bool:
        """Send pending runs to launchers. False if the broker is unavailable: beat sends them again."""
        return self._send(
            [(Task.LAUNCH, [one.cluster, list(one.run_ids)], launch_queue(one.pool), _shown(one)) for one in batches]
        )

    def remove_pods(self, pool: str, cluster: str, run_ids: Sequence[str]) -> bool:
        """Have a launcher remove the pods of runs that were closed before their pods ended (replaced, expired)."""
        shown = f"('{cluster}', {len(run_ids)} runs)"
        return self._send([(Task.REMOVE_PODS, [cluster, list(run_ids)], launch_queue(pool), shown)])

    def wake_responder(self) -> bool:
        """Have a responder process pending outcomes."""
        return self._send([(Task.RESPOND, [], RESPONSE_QUEUE, "()")])

    def sync_sources(self) -> bool:
        """Have the sources that are due synchronized."""
        return self._send([(Task.SYNC_SOURCES, [], HOUSEKEEPING_QUEUE, "()")])

    def deliver(self, notification_ids: Sequence[str]) -> bool:
        """Have notifications sent, one task each: a slow target does not delay the others."""
        return self._send([(Task.DELIVER, [i], RESPONSE_QUEUE, f"('{i}',)") for i in notification_ids])

    def lengths(self, queues: Sequence[str]) -> dict[str, int] | None:
        """How many messages wait in each queue, in one request; None where the broker does not answer in time."""
        options = {"socket_timeout": LENGTHS_WITHIN_S, "socket_connect_timeout": LENGTHS_WITHIN_S}
        with self._app.connection_for_read(transport_options=options) as connection:
            try:
                pipeline = connection.channel().client.pipeline(transaction=False)
                for queue in queues:
                    pipeline.llen(queue)
                return dict(zip(queues, pipeline.execute(), strict=True))
            except (*connection.connection_errors, *connection.channel_errors) as error:
                log.warning("broker unavailable; lengths of queues unknown", broker_error=str(error))
                return None

    def _send(self, messages: Sequence[tuple[Task, list[Any], str, str]]) -> bool:
        """Publish (task, arguments, queue, arguments as Flower shows them) in one batch."""
        if not messages:
            return True
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for name, args, queue, shown in messages:
                    self._app.send_task(name, args=args, queue=queue, producer=producer, argsrepr=shown)
        except (OperationalError, BatchPublishError, OSError) as error:  # unavailable, or since the last message
            log.warning("broker unavailable; messages will be sent again", error=str(error), messages=len(messages))
            return False
        return True


def _shown(batch: RunBatch) -> str:
    runs = batch.run_ids[0] if len(batch.run_ids) == 1 else f"{len(batch.run_ids)} runs"
    return f"({', '.join(batch.cases)} on {batch.cluster}: {runs})"
