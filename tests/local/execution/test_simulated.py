"""Caps and retries, with pods that follow a script."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from kubeprobe import vocabulary
from kubeprobe.catalog.render import pod_name
from kubeprobe.localcluster import Script
from kubeprobe.store import Store
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeRooms
from tests.local.execution.rooms import LocalThread, Rooms

Simulated = Callable[[Script], LocalThread]
FOR_EVER = Script(after=3600)
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "containerStatuses": []}
PASSED = {
    "phase": "Succeeded",
    "containerStatuses": [
        {"name": "probe", "state": {"terminated": {"exitCode": 0, "message": '{"ok": true}', "reason": "Completed"}}}
    ],
}


@pytest.fixture
def play(make_rooms: MakeRooms, sqlite: Store, simulated: Simulated) -> Callable[..., Rooms]:
    """Rooms on a cluster whose pods follow a script, with a collector."""

    def start(script: Script, **cluster: Any) -> Rooms:
        rooms = make_rooms(sqlite, simulated(script), context="c0001", **cluster)
        rooms.collect()
        return rooms

    return start


def test_held_runs_are_launched_as_room_appears(play: Callable[..., Rooms]) -> None:
    """Nobody sends them again: the collector that makes room does it all."""
    rooms = play(Script(after=0), max_in_flight=5)
    runs = [rooms.open() for _ in range(60)]
    rooms.wake(runs)
    until("all outcomes", lambda: len(rooms.verdicts()) == 60, instead=lambda: len(rooms.verdicts()))
    rooms.wait_until_no_pod_is_left()


def test_no_more_pods_than_the_cap_run_at_a_time(play: Callable[..., Rooms]) -> None:
    rooms = play(FOR_EVER, max_in_flight=3)
    runs = [rooms.open() for _ in range(10)]
    rooms.wake(runs)
    until("three runs", lambda: sum(rooms.run(i).state == RunState.RUNNING for i in runs) == 3)

    def waiting() -> int:
        return sum(rooms.run(i).state == RunState.PENDING for i in runs)

    while left := waiting():
        running = [pod for pod in rooms.pods() if pod["status"].get("phase") == "Running"]
        rooms.set_status(running[0], **PASSED)
        until("another run", partial(lambda left: waiting() < left, left))
        assert sum(rooms.run(i).state in {RunState.LAUNCHING, RunState.RUNNING} for i in runs) <= 3


def test_an_evicted_pod_is_tried_again_and_ends_with_one_outcome(play: Callable[..., Rooms]) -> None:
    rooms = play(FOR_EVER)
    run_id = rooms.start(case="retried")
    rooms.set_status(rooms.wait_until_running(run_id), **EVICTED)
    until("the second attempt", lambda: rooms.run(run_id).attempt == 2)
    until("the first pod to be gone", lambda: not rooms.pods())
    rooms.resend()
    second = rooms.wait_until_running(run_id)
    assert second["metadata"]["name"] == pod_name("retried", run_id, 2)
    assert second["metadata"]["labels"][vocabulary.LABEL_ATTEMPT] == "2"
    rooms.set_status(second, **PASSED)
    assert rooms.outcome(run_id).verdict == Verdict.PASS
    rooms.wait_until_no_pod_is_left()
    assert rooms.verdicts() == {run_id: Reason.PASSED}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(after=0, evicted=True), Reason.EVICTED),
        (Script(after=0, preempted=True), Reason.PREEMPTED),
        (Script(after=0, nodeLost=True), Reason.NODE_LOST),
    ],
    ids=["evicted", "preempted", "node lost"],
)
def test_a_pod_that_is_taken_away_each_time_is_unknown_after_the_last_attempt(
    play: Callable[..., Rooms], script: Script, reason: Reason
) -> None:
    rooms = play(script)
    run_id = rooms.start(case="retried")

    def ended() -> bool:
        rooms.resend()
        return bool(rooms.verdicts())

    until("the outcome", ended)
    outcome = rooms.outcome(run_id)
    assert (outcome.verdict, outcome.reason, rooms.run(run_id).attempt) == (Verdict.UNKNOWN, reason, 3)


def test_a_pod_that_vanishes_is_unknown_and_not_tried_again(play: Callable[..., Rooms]) -> None:
    rooms = play(Script(after=0, vanish=True))
    run_id = rooms.start(case="retried")
    assert rooms.outcome(run_id).reason == Reason.POD_DELETED
    assert rooms.run(run_id).attempt == 1
