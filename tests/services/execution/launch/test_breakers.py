"""Launching on a cluster whose breaker is open, or was."""

from datetime import datetime, timedelta

from sqlmodel import col

from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet import breaker
from kubeprobe.runs import lock_cluster
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import Reason, RunState
from tests.harness.ports import free_port
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.execution.launch.given import RUN, ids, launch


def test_an_unreachable_cluster_trips_its_own_breaker_only(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, now: datetime
) -> None:
    world.reach("away", f"http://127.0.0.1:{free_port()}")
    away = [f"02hrun{i:020}" for i in range(3)]
    launch(launcher, world, *away, cluster="away")
    assert (world.find_cluster("away").failures, world.find_cluster("there").failures) == (1, 0)
    until = world.find_cluster("away").open_until
    assert until == now + breaker.BACKOFF.pause(1)
    clock.move(4)
    launch(launcher, world, *away, cluster="away")
    assert world.find_cluster("away").failures == 1, "nobody asks while the breaker is open"
    assert {(r.launch_at, r.wake_at, r.setback) for r in world.runs} == {(until, until, Reason.CLUSTER_UNREACHABLE)}
    launch(launcher, world)
    assert world.find(RUN).state == RunState.RUNNING


def test_a_run_waits_for_an_open_breaker_no_longer_than_its_patience(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, now: datetime
) -> None:
    world.change(Cluster, failures=9, open_until=now + timedelta(minutes=5))
    launch(launcher, world)
    run = world.find(RUN)
    assert (run.state, run.setback) == (RunState.PENDING, Reason.CLUSTER_UNREACHABLE)
    assert run.expires_at == now + settings.patience
    assert api.requests == []


def test_a_response_closes_the_breaker(world: ExecutionWorld, launcher: Launcher, clock: Clock, now: datetime) -> None:
    world.change(Cluster, col(Cluster.name) == "there", failures=3, open_until=now - timedelta(seconds=1))
    launch(launcher, world)
    cluster = world.find_cluster("there")
    assert (cluster.failures, cluster.open_until) == (0, None)


def test_only_one_launcher_tries_a_cluster_after_its_breaker_was_open(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, now: datetime
) -> None:
    first, second = ids(2)
    world.change(Cluster, failures=3, open_until=now - timedelta(seconds=1))
    world.run(first, cluster="there", trigger="manual")
    with world.store.writing() as session:  # it is trying, and has no answer yet
        locked = lock_cluster(session, "there")
        assert locked is not None
        assert launcher._claim(session, "there", locked[0], [first]) is not None
    launch(launcher, world, second)
    assert world.find(first).state == RunState.LAUNCHING
    assert (world.find(second).state, world.find(second).setback) == (RunState.PENDING, Reason.CLUSTER_UNREACHABLE)
    assert api.requests == []


def test_postponed_runs_are_sent_as_soon_as_the_cluster_responds(
    world: ExecutionWorld, launcher: Launcher, clock: Clock, now: datetime
) -> None:
    first, second = ids(2)
    world.change(Cluster, failures=3, open_until=now + timedelta(seconds=20))
    launch(launcher, world, second)
    assert world.find(second).wake_at == now + timedelta(seconds=20)
    world.change(Cluster, open_until=now - timedelta(seconds=1))
    then = clock.move(5)
    launch(launcher, world, first)
    assert world.find(first).state == RunState.RUNNING
    assert (world.find(second).launch_at, world.find(second).wake_at) == (then, then)
