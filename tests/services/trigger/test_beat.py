"""Beat's scheduler: due slots become messages for launchers, also after the broker or the store was unavailable."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from beat_schedule import LONGEST_WAIT_S, SlotScheduler
from kubeprobe.clock import utc_now
from kubeprobe.queue import HOUSEKEEPING_QUEUE, RESPONSE_QUEUE, Task, celery_config, launch_queue
from kubeprobe.store import open_store
from kubeprobe.trigger import claim_housekeeping
from kubeprobe.trigger.housekeeping import EVERY
from kubeprobe.vocabulary import Concurrency, RunState
from tests.harness.ports import free_port
from tests.services.trigger.given import World


@pytest.fixture
def broker(valkey: str) -> Iterator[Redis]:
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@pytest.fixture
def world(world: World) -> World:
    """Beat reads the clock itself, so times are relative to now."""
    world.noon = utc_now() - timedelta(seconds=1)
    return world


Beat = Callable[..., SlotScheduler]
WITHIN_S = 60
"""Longer than beat itself waits for its messages to be published."""


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path, valkey: str) -> Iterator[Beat]:
    """Creates a beat like `celery beat -S beat_schedule.SlotScheduler`; the tests tick and wake."""
    monkeypatch.setenv("KUBEPROBE_DATABASE_URL", database_url)
    monkeypatch.setenv("KUBEPROBE_DATA_DIR", str(tmp_path))
    started = []

    def start(broker_url: str = valkey) -> SlotScheduler:
        app = Celery("test", set_as_current=False)
        app.conf.update(celery_config(broker_url))
        scheduler = SlotScheduler(app=app)
        started.append((scheduler, scheduler.store, app))
        return scheduler

    yield start
    for scheduler, store, app in started:
        assert scheduler.queue.flush(WITHIN_S), "it would publish during the next test"
        scheduler.close()
        store.close()
        app.close()


def messages(broker: Redis, queue: str) -> list[tuple[str, list[Any]]]:
    """The tasks in a queue with their arguments, oldest first."""
    found = [json.loads(message) for message in reversed(broker.lrange(queue, 0, -1))]
    return [(m["headers"]["task"], json.loads(base64.b64decode(m["body"]))[0]) for m in found]


def test_runs_due_together_on_a_cluster_are_one_message(world: World, broker: Redis, beat: Beat) -> None:
    for case in ("a", "b", "c"):
        world.schedule(case=case)
    scheduler = beat()
    assert scheduler.tick() == 0, "at once again: there may be more"
    assert scheduler.queue.flush(WITHIN_S)
    [(task, [cluster, run_ids])] = messages(broker, launch_queue("default"))
    assert (task, cluster) == (Task.LAUNCH, "prod-1")
    assert sorted(run_ids) == sorted(run.id for run in world.runs)
    assert 0 < scheduler.tick() <= LONGEST_WAIT_S


def test_outcomes_wake_a_responder_and_pods_of_replaced_runs_are_removed(
    world: World, broker: Redis, beat: Beat
) -> None:
    schedule = world.schedule(concurrency=Concurrency.REPLACE)
    world.run("earlier", schedule_id=schedule, state=RunState.RUNNING)
    scheduler = beat()
    scheduler.tick()
    assert scheduler.queue.flush(WITHIN_S)
    sent = messages(broker, launch_queue("default"))
    assert (Task.REMOVE_PODS, ["prod-1", ["earlier"]]) in sent
    assert messages(broker, RESPONSE_QUEUE) == [(Task.RESPOND, [])]


def test_of_each_task_of_housekeeping_one_message_waits_until_it_is_claimed(
    world: World, broker: Redis, beat: Beat
) -> None:
    """However long there is no responder, and however many beats there are."""
    for scheduler in (beat(), beat()):
        for _ in range(3):
            scheduler.wake()
    assert sorted(task for task, _ in messages(broker, HOUSEKEEPING_QUEUE)) == sorted(EVERY)
    broker.flushall()
    assert claim_housekeeping(world.store, Task.FORGET, utc_now())
    beat().wake()
    assert sorted(task for task, _ in messages(broker, HOUSEKEEPING_QUEUE)) == sorted(EVERY.keys() - {Task.FORGET})


def test_runs_opened_while_the_broker_was_unavailable_are_sent_afterwards(
    world: World, broker: Redis, beat: Beat
) -> None:
    world.schedule()
    unable = beat(f"redis://127.0.0.1:{free_port()}/0")
    unable.tick()
    assert unable.queue.flush(WITHIN_S)
    [run] = world.runs
    assert run.state == RunState.PENDING
    world.change(type(run), wake_at=world.noon)  # as after `resend_after`
    unable.wake()
    assert world.runs[0].wake_at == world.noon, "it is sent as soon as the broker is back"
    beat().wake()
    assert messages(broker, launch_queue("default")) == [(Task.LAUNCH, ["prod-1", [run.id]])]


def test_a_flushed_broker_loses_nothing(world: World, broker: Redis, beat: Beat) -> None:
    world.schedule()
    scheduler = beat()
    scheduler.tick()
    assert scheduler.queue.flush(WITHIN_S)
    broker.flushall()
    [run] = world.runs
    world.change(type(run), wake_at=world.noon)
    scheduler.wake()
    assert messages(broker, launch_queue("default")) == [(Task.LAUNCH, ["prod-1", [run.id]])]


@pytest.mark.usefixtures("world")
def test_beat_waits_for_an_unavailable_store(beat: Beat) -> None:
    scheduler = beat()
    scheduler.store = open_store(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    assert scheduler.tick() == LONGEST_WAIT_S
    scheduler.wake()
    scheduler.store.close()
