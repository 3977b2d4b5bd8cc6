"""The tasks of workers: each calls one function of kubeprobe and dispatches its effects."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from kubeprobe.app import Installation
from kubeprobe.errors import NotFoundError
from kubeprobe.execution.launch import Launcher
from kubeprobe.queue import RunBatch
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.execution.test_committer import Wakes
from tests.services.trigger.given import CASE
from workers import housekeeping, launching
from workers.app import app
from workers.context import WorkerContext
from workers.deliveries import Deliveries


class RecordedWakes(Wakes):
    """Also records the pods to delete."""

    def __init__(self) -> None:
        super().__init__()
        self.removals: list[tuple[str, str, list[str]]] = []

    def remove_pods(self, pool: str, cluster: str, run_ids: object) -> bool:
        self.removals.append((pool, cluster, sorted(run_ids)))  # type: ignore[call-overload]
        return True


@pytest.fixture
def wakes(world: ExecutionWorld, launcher: Launcher) -> Iterator[RecordedWakes]:
    """The wakes that the tasks of a worker send."""
    queue = RecordedWakes()
    app.context = WorkerContext(
        Installation(launcher.settings, world.store, queue, catalogs=launcher.catalogs),
        launcher,
        Deliveries.__new__(Deliveries),
    )
    yield queue
    del app.context


def test_launching_wakes_a_responder_only_where_runs_ended(
    world: ExecutionWorld, wakes: RecordedWakes, api: OddApi, now: datetime
) -> None:
    world.reach("there", api.url)
    world.run("r1", "r2", cluster="there")
    launching.launch("there", ["r1"])
    assert (world.states()["r1"], wakes.responders) == (RunState.RUNNING, 0)
    world.change(Cluster, cordoned_at=now)
    launching.launch("there", ["r2"])
    assert (world.verdicts, wakes.responders) == ({"r2": (Verdict.UNKNOWN, Reason.CORDONED)}, 1)


def test_a_request_that_the_broker_delivers_twice_runs_once(world: ExecutionWorld, wakes: RecordedWakes) -> None:
    first = launching.run_probe.apply(args=[CASE, "prod-1"], task_id="t1").get()
    again = launching.run_probe.apply(args=[CASE, "prod-1"], task_id="t1").get()
    assert (len(first), again, len(world.runs)) == (1, [], 1)
    assert wakes.launchers == [RunBatch("default", "prod-1", tuple(first), (CASE,))]


def test_a_request_for_an_unknown_case_is_an_error(world: ExecutionWorld, wakes: RecordedWakes) -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'pod-lifecycle'"):
        launching.run_probe.apply(args=["pod-lifecycel", "prod-1"], throw=True).get()
    assert wakes.launchers == []


def test_expired_runs_wake_a_responder_and_their_pods_are_deleted_by_their_pools(
    world: ExecutionWorld, wakes: RecordedWakes, now: datetime
) -> None:
    world.cluster("prod-2")
    for number in range(3):
        world.run(f"a{number}", state=RunState.RUNNING, pod="kp", expires_at=now)
        world.run(f"b{number}", cluster="prod-2", pool="far", state=RunState.RUNNING, pod="kp", expires_at=now)
    world.run("without-pod", expires_at=now)
    housekeeping.expire()
    assert len(world.outcomes) == 7
    assert wakes.responders >= 1
    assert sorted(wakes.removals) == [
        ("default", "prod-1", ["a0", "a1", "a2"]),
        ("far", "prod-2", ["b0", "b1", "b2"]),
    ]


def test_without_expired_runs_no_responder_is_woken(world: ExecutionWorld, wakes: RecordedWakes, clock: Clock) -> None:
    housekeeping.expire()
    assert (wakes.responders, wakes.removals) == (0, [])
