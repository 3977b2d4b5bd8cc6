"""Messages expire, and are put back, by the store's clock: those of machines may differ."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from celery.utils.imports import symbol_by_name
from kombu import Queue as BrokerQueue
from kombu.transport import redis as transport
from redis import Redis

from kubeprobe.health import diagnose
from kubeprobe.queue import EXPIRES_S, RESPONSE_QUEUE, Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store, StoreClock
from kubeprobe.trigger import due_housekeeping
from tests.harness.installation import Installation
from tests.harness.machineclock import shifted, shifting_library
from tests.harness.wait import until
from tests.services.execution.given import Clock
from tests.services.trigger.given import World
from workers import broker, responding
from workers.app import app
from workers.request import Request

VISIBILITY_S = 120
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def flushed(valkey: str) -> Iterator[Redis]:
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@pytest.fixture
def is_expired(valkey: str, flushed: Redis, now: datetime, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], bool]:
    """Whether a message that was published at `now` has expired for a worker, so many seconds later."""

    def judge(seconds: float) -> bool:
        assert Queue.connect(valkey, lambda: now).wake_responder()
        monkeypatch.setattr(app, "now", lambda: now + timedelta(seconds=seconds))
        with app.connection_for_read(valkey) as connection, connection.SimpleQueue(RESPONSE_QUEUE) as received:
            message = received.get(timeout=10)
            message.ack()
        responding.respond.bind(app)
        made: type[Request] = symbol_by_name(responding.respond.Request)
        assert issubclass(made, Request)
        return made(message, app=app, task=responding.respond, decoded=False).revoked()  # type: ignore[no-any-return]

    return judge


@pytest.mark.parametrize(("seconds", "expired"), [(0, False), (EXPIRES_S, False), (EXPIRES_S + 1, True), (-90, False)])
def test_a_message_expires_by_the_clock_that_its_sender_and_its_worker_share(
    is_expired: Callable[[float], bool], seconds: float, *, expired: bool
) -> None:
    """The machine's clock is months from the one in these messages."""
    assert is_expired(seconds) is expired


def test_a_message_is_put_back_by_the_clock_that_workers_share(
    valkey: str, flushed: Redis, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose machine was ahead by two minutes put back whatever the others worked on."""
    monkeypatch.setattr(transport, "time", transport.time)
    clock = Clock(now)
    broker.use_clock(clock)
    assert Queue.connect(valkey).wake_responder()
    with app.connection_for_read(valkey) as connection:
        channel = connection.default_channel
        channel.basic_consume(RESPONSE_QUEUE, no_ack=False, callback=lambda message: None, consumer_tag="one")
        assert BrokerQueue(RESPONSE_QUEUE, channel=channel).get(no_ack=False) is not None
        for moved, waiting in ((VISIBILITY_S - 1, 0), (2, 1)):
            clock.move(moved)
            channel.qos.restore_visible(interval=1)
            assert flushed.llen(RESPONSE_QUEUE) == waiting


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's processes are on one machine
def test_processes_on_machines_whose_clocks_are_40_minutes_apart_work_together(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    """The responder ignored every message of this beat, and beat found housekeeping never due again."""
    library, clock = shifting_library(tmp_path), StoreClock(store)
    world = World(store, clock())
    world.cluster("prod-1")
    world.schedule(due=clock() + 15 * MINUTE)
    world.run("expired", expires_at=clock(), launch_at=clock(), wake_at=clock() + 60 * MINUTE)
    with Installation(tmp_path, database_url) as installation:
        installation.start("valkey")
        installation.environment = shifted(library, 20 * 60)
        installation.start("responder")
        installation.environment = shifted(library, -20 * 60)
        installation.start("beat")
        until("the run to expire", lambda: world.outcomes, within_s=120, instead=lambda: installation.log("responder"))
        until("no task to be due", lambda: not due_housekeeping(store, clock()))
        assert due_housekeeping(store, clock() + 6 * SECOND) != []
        [outcome] = world.outcomes
        assert abs(outcome.stored_at - clock()) < 5 * MINUTE
        [finding] = [one for one in diagnose(Settings(database_url=database_url)) if one.check == "clock"]
    assert len(world.runs) == 1, "no slot is opened before it is due"
    found = re.sub(r"on \S+ \(pid \d+\) ", "", finding.found)
    assert found == "beat is 1200 s behind, responder is 1200 s ahead of the database server"
