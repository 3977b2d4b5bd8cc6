"""The queue: names of queues and tasks, and waking workers by name with ids.

Beneath all stages. The store is the truth and the broker only wakes (promise 2): a wake that is lost is sent
again from the store, so publishing here never fails a caller. It never imports workers.
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
"""Launchers' tasks are missing: their queue is that of the cluster's pool."""


def launch_queue(pool: str) -> str:
    """One queue per pool, never one per cluster (failure mode 25)."""
    return f"launch.{pool}"


class Wakeable(Protocol):
    """What of a run a wake needs."""

    @property
    def id(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def case(self) -> str: ...


@dataclass(frozen=True)
class Wake:
    """Runs of one cluster that a launcher is to take together; the message carries only their ids."""

    pool: str
    cluster: str
    run_ids: tuple[str, ...]
    cases: tuple[str, ...] = ()


def wakes_for(runs: Iterable[Wakeable], batch_size: int) -> list[Wake]:
    """Runs grouped by cluster into wakes of at most `batch_size`."""
    by_cluster: dict[tuple[str, str], list[Wakeable]] = defaultdict(list)
    for run in runs:
        by_cluster[run.pool, run.cluster].append(run)
    return [
        Wake(pool, cluster, tuple(r.id for r in part), tuple(sorted({r.case for r in part})))
        for (pool, cluster), members in by_cluster.items()
        for part in (members[i : i + batch_size] for i in range(0, len(members), batch_size))
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
            # Who publishes while the broker is away learns so at once, and not after 6 s: the store wakes again.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        "broker_heartbeat": 0,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,  # the store keeps outcomes; Celery results would be a second truth
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
    """Publishes wakes. `app` is a Celery app: a worker's own, or `Queue.connect(...)` elsewhere."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    @classmethod
    def connect(cls, broker_url: str) -> "Queue":
        """A queue for a process that is no Celery worker (the command line, a collector)."""
        app = Celery("kubeprobe", set_as_current=False)
        app.conf.update(celery_config(broker_url))
        return cls(app)

    def wake_launchers(self, wakes: Sequence[Wake]) -> bool:
        """Tell launchers of runs that wait. False where the broker is away: beat sends them again."""
        return self._send(
            [(Task.LAUNCH, [wake.cluster, list(wake.run_ids)], launch_queue(wake.pool), _told(wake)) for wake in wakes]
        )

    def remove_pods(self, pool: str, cluster: str, run_ids: Sequence[str]) -> bool:
        """Have the pods of runs that ended early (replaced, expired) removed."""
        told = f"('{cluster}', {len(run_ids)} runs)"
        return self._send([(Task.REMOVE_PODS, [cluster, list(run_ids)], launch_queue(pool), told)])

    def wake_responder(self) -> bool:
        """Tell a responder that outcomes wait."""
        return self._send([(Task.RESPOND, [], RESPONSE_QUEUE, "()")])

    def wake_sources(self) -> bool:
        """Have the sources looked at that are due."""
        return self._send([(Task.SYNC_SOURCES, [], HOUSEKEEPING_QUEUE, "()")])

    def deliver(self, notification_ids: Sequence[str]) -> bool:
        """Have notifications sent, one task each: a slow target holds up nobody else."""
        return self._send([(Task.DELIVER, [i], RESPONSE_QUEUE, f"('{i}',)") for i in notification_ids])

    def _send(self, messages: Sequence[tuple[Task, list[Any], str, str]]) -> bool:
        """Publish in one batch; `told` is what Flower shows as arguments."""
        if not messages:
            return True
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for name, args, queue, told in messages:
                    self._app.send_task(name, args=args, queue=queue, producer=producer, argsrepr=told)
        except (OperationalError, BatchPublishError, OSError) as error:  # away; away since the last message
            log.warning("broker away; the store will wake again", broker_error=str(error), messages=len(messages))
            return False
        return True


def _told(wake: Wake) -> str:
    runs = wake.run_ids[0] if len(wake.run_ids) == 1 else f"{len(wake.run_ids)} runs"
    return f"({', '.join(wake.cases)} on {wake.cluster}: {runs})"
