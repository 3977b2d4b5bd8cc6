"""Committing endings in groups: each is stored even if others of its group are rejected."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from celery import Celery

from kubeprobe.execution.collect.committer import Committer, Finished
from kubeprobe.queue import Queue, RunBatch
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.given import FAILED, PASSED, Clock, ExecutionWorld, ending
from tests.services.trigger.given import statements


class Wakes(Queue):
    """Records the wakes."""

    def __init__(self) -> None:
        super().__init__(Celery(set_as_current=False))
        self.launchers: list[RunBatch] = []
        self.responders = 0

    def wake_launchers(self, wakes: Sequence[RunBatch]) -> bool:
        self.launchers += wakes
        return True

    def wake_responder(self) -> bool:
        self.responders += 1
        return True


@dataclass(eq=False)
class Watched:
    """A watch that records what was finished."""

    cluster: Cluster
    live: int = 0
    finished: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def finish(self, finished: Finished) -> None:
        self.finished.put_nowait(finished.ending.run_id)


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def committer(world: ExecutionWorld, wakes: Wakes, settings: Settings, clock: Clock) -> Committer:
    return Committer(world.store, wakes, settings, clock)


async def finish(committer: Committer, watch: Watched, *endings: Finished) -> list[str]:
    """Commit these; returns what was finished, in order."""
    for finished in endings:
        committer.submit(finished)
    running = asyncio.create_task(committer.run())
    try:
        async with asyncio.timeout(30):
            return [await watch.finished.get() for _ in endings]
    finally:
        running.cancel()


async def test_a_group_of_endings_is_one_transaction_and_wakes_a_responder_once(
    world: ExecutionWorld, committer: Committer, wakes: Wakes
) -> None:
    watch = Watched(world.find_cluster("prod-1"))
    names = [f"r{i}" for i in range(10)]
    world.run(*names, state=RunState.RUNNING)
    with statements(world.store) as seen:
        done = await finish(committer, watch, *(Finished(watch, ending(name)) for name in names))
    assert (done, len(seen), wakes.responders) == (names, 2, 1)
    assert len(world.outcomes) == 10


async def test_an_ending_that_cannot_be_stored_does_not_stop_the_others(
    world: ExecutionWorld, committer: Committer
) -> None:
    watch = Watched(world.find_cluster("prod-1"))
    world.run("r1", "r2", "r3", state=RunState.RUNNING)
    odd = replace(FAILED, report={"no JSON": object()})
    reports = [ending("r1", PASSED), ending("r2", odd), ending("r3", FAILED)]
    assert await finish(committer, watch, *(Finished(watch, e) for e in reports)) == ["r1", "r2", "r3"]
    assert world.verdicts == {
        "r1": (Verdict.PASS, Reason.PASSED),
        "r2": (Verdict.UNKNOWN, Reason.REPORT_GARBLED),
        "r3": (Verdict.FAIL, Reason.REPORTED_FAILURE),
    }


@pytest.mark.parametrize(("live", "ended", "woken"), [(0, 4, 1), (4, 1, 1), (9, 1, 1), (0, 1, 0)])
async def test_endings_on_a_busy_cluster_wake_held_runs(
    world: ExecutionWorld, committer: Committer, wakes: Wakes, live: int, ended: int, woken: int
) -> None:
    """With a cap of 9: with less than half of it in flight, no run can be held."""
    world.change(Cluster, max_in_flight=9)
    watch = Watched(world.find_cluster("prod-1"), live)
    names = [f"r{i}" for i in range(ended)]
    world.run(*names, state=RunState.RUNNING)
    world.run("held", held=True)
    await finish(committer, watch, *(Finished(watch, ending(name)) for name in names))
    assert [wake.run_ids for wake in wakes.launchers] == [("held",)] * woken
