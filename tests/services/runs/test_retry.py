"""Resending runs whose message was lost, or that a dead launcher had claimed."""

from datetime import datetime, timedelta

import pytest

from kubeprobe.runs import resend_overdue
from kubeprobe.runs.rows import DOUBLINGS
from kubeprobe.settings import Settings
from kubeprobe.store import Run
from kubeprobe.vocabulary import RunState
from tests.services.execution.given import ExecutionWorld as World
from tests.services.trigger.given import at_once

SECOND = timedelta(seconds=1)


def test_a_run_whose_message_was_lost_is_sent_again(world: World, now: datetime, settings: Settings) -> None:
    world.run("lost", wake_at=now + 5 * SECOND)
    assert resend_overdue(world.store, now + 4 * SECOND, settings) == []
    [again] = resend_overdue(world.store, now + 5 * SECOND, settings)
    assert (again.id, again.cluster, again.pool, again.case) == ("lost", "prod-1", "default", "pod-lifecycle")


def test_each_wait_is_twice_the_last_up_to_a_limit(world: World, now: datetime, settings: Settings) -> None:
    world.run("lost", wake_at=now)
    waits = []
    for _ in range(DOUBLINGS + 3):
        before = world.runs[0].wake_at
        assert resend_overdue(world.store, before, settings)
        waits.append(world.runs[0].wake_at - before)
    first = settings.resend_after
    assert waits == [first, 2 * first, 4 * first, 8 * first, 16 * first, 16 * first, 16 * first]


def test_a_run_whose_claim_expired_goes_to_the_next_launcher(world: World, now: datetime, settings: Settings) -> None:
    lapses = now + settings.claim_timeout
    world.run("claimed", state=RunState.LAUNCHING, claimed_at=now, wake_at=lapses)
    assert resend_overdue(world.store, lapses - SECOND, settings) == []
    assert [run.id for run in resend_overdue(world.store, lapses, settings)] == ["claimed"]
    assert world.runs[0].state == RunState.PENDING


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.DONE])
def test_a_run_with_a_pod_is_not_sent_again(world: World, now: datetime, settings: Settings, state: RunState) -> None:
    world.run("running", state=state, wake_at=now)
    assert resend_overdue(world.store, now + 60 * SECOND, settings) == []


def test_each_overdue_run_is_returned_to_one_of_many_callers(world: World, now: datetime, settings: Settings) -> None:
    names = [f"r{i}" for i in range(200)]
    world.run(*names, wake_at=now)
    given = at_once(4, lambda _: resend_overdue(world.store, now, settings))
    assert sorted(run.id for part in given for run in part) == sorted(names)


def test_the_longest_waiting_are_sent_first(world: World, now: datetime, settings: Settings) -> None:
    for minutes in range(3):
        world.run(*(f"{minutes}-{i}" for i in range(500)), wake_at=now - timedelta(minutes=minutes))
    first = {run.id for run in resend_overdue(world.store, now, settings)}
    assert first == {f"{minutes}-{i}" for minutes in (1, 2) for i in range(500)}
    world.change(Run, held=True)
    assert len(resend_overdue(world.store, now, settings)) == 500
