"""The queue: names of queues and tasks, and messages that wake workers, with ids only.

Below all stages. The store is the truth and the broker only wakes (promise 2): a lost message is sent again from the
store. So publishing never raises for an unavailable broker, and a full queue gets no more messages: what waits in the
broker is bounded, however long a queue has no worker. It never imports workers.
"""

import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, Self

import structlog
from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
RESPONSE_QUEUE = "response"
DELIVERY_QUEUE = "delivery"
REQUEST_QUEUE = "request"
HOUSEKEEPING_QUEUE = "housekeeping"
BROKER_TIMEOUT_S = 5.0
"""For connecting to the broker, and for each of its answers."""
BROKER_CHECK_S = 5
"""A worker that waits for messages reconnects when the broker was silent for that long (twice that at most)."""
MAX_WAITING = 5000
"""Messages in one queue; the store sends what is left out once there are fewer."""
MANY_WAITING = 1000
"""With so many messages in a pool's queue, that of a run which waits is most likely still one of them."""
REPLY_WITHIN_S = 1.0
"""How long workers have to report which queues they serve."""
MAX_RESPONDS = 10
"""Waiting messages for responders: each is for a batch of outcomes, and all are alike."""
EXPIRES_S = 600
"""A worker ignores older messages, by the store's clock: what they were for was sent again, or closed."""
MAX_PENDING = 10_000
"""Messages that wait in one process while the broker is unavailable; the oldest are dropped: the store sends again."""


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
    Task.DELIVER: DELIVERY_QUEUE,
    Task.EXPIRE: HOUSEKEEPING_QUEUE,
    Task.FORGET: HOUSEKEEPING_QUEUE,
    Task.REPEAT_ALERTS: HOUSEKEEPING_QUEUE,
    Task.RESEND_NOTIFICATIONS: HOUSEKEEPING_QUEUE,
    Task.RUN_PROBE: REQUEST_QUEUE,
    Task.SYNC_SOURCES: HOUSEKEEPING_QUEUE,
}
"""Without the tasks of launchers: their queue is that of the cluster's pool."""
_ALIKE = {RESPONSE_QUEUE: MAX_RESPONDS, HOUSEKEEPING_QUEUE: 1}
"""Queues whose messages of one task are alike, and how many of each task may wait."""


def launch_queue(pool: str) -> str:
    """One queue per pool, never one per cluster (failure mode 25)."""
    return f"launch.{pool}"


def is_launching(queue: str) -> bool:
    """Whether launchers serve a queue, and not responders."""
    return queue == REQUEST_QUEUE or queue.startswith(launch_queue(""))


def queues_of(pools: Iterable[str]) -> list[str]:
    """All queues of an installation with these pools."""
    return [REQUEST_QUEUE, RESPONSE_QUEUE, DELIVERY_QUEUE, HOUSEKEEPING_QUEUE, *map(launch_queue, sorted(pools))]


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
            # A broker that is frozen accepts connections and answers nothing. The blocking BRPOP of a worker is not
            # subject to the socket's time-out; the check below ends it.
            "socket_timeout": BROKER_TIMEOUT_S,
            "socket_connect_timeout": BROKER_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": BROKER_CHECK_S,
            # Publishing to an unavailable broker fails without a second try: the store sends again.
            "max_retries": 0,
        },
        "broker_connection_max_retries": None,  # a worker outlives any outage; by default it gives up after 100 tries
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


@dataclass(frozen=True)
class Message:
    """A task to run."""

    task: Task
    queue: str
    args: list[Any] = field(default_factory=list)
    shown: str = "()"
    """The arguments as Flower shows them."""


class Queue:
    """Publishes messages, within BROKER_TIMEOUT_S. `app` is a Celery app: a worker's own, or `connect` elsewhere.

    For processes that end once they have published. All others use a `Publisher`.
    """

    def __init__(self, app: Celery, clock: Clock | None = None) -> None:
        self._app = app
        if clock is not None:
            app.now = clock  # Celery counts a message's expiry from it, and a worker compares it with the same clock

    @classmethod
    def connect(cls, broker_url: str, clock: Clock | None = None) -> Self:
        """A queue for a process other than a Celery worker (the command line, a collector)."""
        app = Celery("kubeprobe", set_as_current=False)
        app.conf.update(celery_config(broker_url))
        return cls(app, clock)

    def wake_launchers(self, batches: Sequence[RunBatch]) -> bool:
        """Send pending runs to launchers. False if the broker is unavailable: beat sends them again."""
        return self._send(
            [
                Message(Task.LAUNCH, launch_queue(one.pool), [one.cluster, list(one.run_ids)], _shown(one))
                for one in batches
            ]
        )

    def remove_pods(self, pool: str, cluster: str, run_ids: Sequence[str]) -> bool:
        """Have a launcher remove the pods of runs that were closed before their pods ended (replaced, expired)."""
        shown = f"('{cluster}', {len(run_ids)} runs)"
        return self._send([Message(Task.REMOVE_PODS, launch_queue(pool), [cluster, list(run_ids)], shown)])

    def wake_responder(self) -> bool:
        """Have a responder process pending outcomes."""
        return self._send([Message(Task.RESPOND, RESPONSE_QUEUE)])

    def sync_sources(self) -> bool:
        """Have the sources that are due synchronized."""
        return self.wake_housekeeping([Task.SYNC_SOURCES])

    def wake_housekeeping(self, tasks: Sequence[Task]) -> bool:
        """Have a responder do these; of each at most one message waits."""
        return self._send([Message(task, HOUSEKEEPING_QUEUE) for task in tasks])

    def deliver(self, targets: Sequence[tuple[str, str]]) -> bool:
        """Have the messages to targets (route, target) sent, one task each: a slow target does not delay the others."""
        return self._send([Message(Task.DELIVER, DELIVERY_QUEUE, list(to), f"('{'/'.join(to)}',)") for to in targets])

    def lengths(self, queues: Sequence[str]) -> dict[str, int] | None:
        """How many messages wait in each queue, in one request; None if the broker is unavailable."""
        try:
            with self._app.producer_or_acquire() as producer, producer.channel.conn_or_acquire() as client:
                pipeline = client.pipeline(transaction=False)
                for queue in queues:
                    pipeline.llen(queue)
                return dict(zip(queues, pipeline.execute(), strict=True))
        except _broker_errors() as error:
            log.warning("broker unavailable; lengths of queues unknown", error=str(error))
            return None

    def workers(self) -> dict[str, int] | None:
        """How many workers report within REPLY_WITHIN_S that they serve a queue; None if the broker is unavailable."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=0)
                replies = self._app.control.inspect(timeout=REPLY_WITHIN_S, connection=connection).active_queues()
        except _broker_errors() as error:
            log.warning("broker unavailable; workers unknown", error=str(error))
            return None
        return dict(Counter(queue["name"] for queues in (replies or {}).values() for queue in queues))

    def close(self) -> None:
        """Nothing is left to be published."""

    def _send(self, messages: Sequence[Message]) -> bool:
        """Publish in one batch those that their queue has space for."""
        if not messages:
            return True
        try:
            with self._app.producer_or_acquire() as producer:
                accepted = _within_limits(messages, _waiting(producer, {message.queue for message in messages}))
                with producer.batch():
                    for one in accepted:
                        self._app.send_task(
                            one.task,
                            args=one.args,
                            queue=one.queue,
                            producer=producer,
                            argsrepr=one.shown,
                            expires=EXPIRES_S,
                        )
        except _broker_errors() as error:
            log.warning("broker unavailable; messages will be sent again", error=str(error), messages=len(messages))
            return False
        return True


class Publisher(Queue):
    """Publishes from a thread of its own, so that no caller waits for the broker: no commit, no tick, no request.

    While the broker is unavailable, messages are dropped after BROKER_TIMEOUT_S; the store sends them again.
    """

    def __init__(self, app: Celery, clock: Clock | None = None) -> None:
        super().__init__(app, clock)
        self._pending: deque[Message] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._sending = False
        self._closed = False

    def flush(self, within_s: float = BROKER_TIMEOUT_S) -> bool:
        """Wait until nothing is pending; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending and not self._sending, within_s)

    def close(self) -> None:
        """Publish what is pending, within BROKER_TIMEOUT_S, and end the thread."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _send(self, messages: Sequence[Message]) -> bool:
        with self._changed:
            self._pending.extend(messages)
            dropped = max(0, len(self._pending) - MAX_PENDING)
            for _ in range(dropped):
                self._pending.popleft()
            self._dropped += dropped
            if dropped:
                log.warning(
                    "broker too slow; oldest messages will be sent again", messages=dropped, total=self._dropped
                )
            is_publishing = self._start_thread()
            self._changed.notify_all()
        return is_publishing and not dropped

    def _start_thread(self) -> bool:
        """Once; False if the system has no more threads. The lock is held."""
        if self._thread is None:
            thread = threading.Thread(target=self._publish, name="publisher", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the next message tries again
                log.warning("publisher not started", error=str(error))
                return False
            self._thread = thread
        return True

    def _publish(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                if not self._pending:
                    return
                messages = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_WAITING))]
                self._sending = True
            try:
                super()._send(messages)
            except Exception:  # none may end the thread
                log.exception("messages not published", messages=len(messages))
            with self._changed:
                self._sending = False
                self._changed.notify_all()


def _waiting(producer: Any, queues: Iterable[str]) -> dict[str, Counter[str]]:
    """How many messages wait in each queue, by task where they are alike. One request."""
    names = sorted(queues)
    with producer.channel.conn_or_acquire() as client:
        pipeline = client.pipeline(transaction=False)
        for queue in names:
            if queue in _ALIKE:
                pipeline.lrange(queue, 0, MAX_WAITING - 1)
            else:
                pipeline.llen(queue)
        found = pipeline.execute()
    return {
        queue: Counter({"": answer}) if isinstance(answer, int) else Counter(map(_task_of, answer))
        for queue, answer in zip(names, found, strict=True)
    }


def _task_of(message: bytes) -> str:
    """The task of a message; empty for one that is not of Celery."""
    try:
        return str(json.loads(message)["headers"]["task"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _within_limits(messages: Sequence[Message], waiting: Mapping[str, Counter[str]]) -> list[Message]:
    """The messages that their queues have space for."""
    accepted, refused = [], Counter[str]()
    for message in messages:
        counts, most = waiting[message.queue], _ALIKE.get(message.queue)
        is_full = counts.total() >= MAX_WAITING
        if is_full or (most is not None and counts[message.task] >= most):
            refused[message.queue] += is_full
            continue
        counts[message.task] += 1
        accepted.append(message)
    for queue, number in refused.items():
        if number:
            log.warning("queue full; messages will be sent again", queue=queue, messages=number)
    return accepted


def _broker_errors() -> tuple[type[Exception], ...]:
    """What an unavailable or full broker raises. The import is kept from processes that never publish."""
    from redis.exceptions import RedisError  # noqa: PLC0415

    return (OperationalError, BatchPublishError, OSError, RedisError)


def _shown(batch: RunBatch) -> str:
    runs = batch.run_ids[0] if len(batch.run_ids) == 1 else f"{len(batch.run_ids)} runs"
    return f"({', '.join(batch.cases)} on {batch.cluster}: {runs})"
