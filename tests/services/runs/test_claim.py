"""Claims: each run for one launcher, and never more pods than the cluster's cap."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import col

from kubeprobe.runs import held_runs, resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Run
from kubeprobe.vocabulary import RunState
from tests.services.execution.given import ExecutionWorld
from tests.services.trigger.given import at_once, statements

SECOND = timedelta(seconds=1)


def test_a_claim_lasts_for_the_claim_timeout(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.run("r1", held=True)
    assert world.claim("prod-1", ["r1", "unknown"], now, settings) == ["r1"]
    run = world.find("r1")
    assert (run.state, run.claimed_at, run.wake_at) == (RunState.LAUNCHING, now, now + settings.claim_timeout)
    assert not run.held


@pytest.mark.parametrize("state", [RunState.LAUNCHING, RunState.RUNNING, RunState.DONE])
def test_a_run_claimed_by_another_launcher_is_not_claimed(
    world: ExecutionWorld, now: datetime, settings: Settings, state: RunState
) -> None:
    world.run("r1", state=state)
    before = world.find("r1").model_dump()
    assert world.claim("prod-1", ["r1"], now + SECOND, settings) == []
    assert world.find("r1").model_dump() == before


def test_many_launchers_at_once_get_each_run_once(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.change(Cluster, max_in_flight=1000)
    names = [f"r{i:03}" for i in range(200)]
    world.run(*names)
    claimed = at_once(6, lambda _: world.claim("prod-1", names, now, settings))
    assert sorted(run for part in claimed for run in part) == names


def test_many_launchers_at_once_never_exceed_the_cap(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.change(Cluster, max_in_flight=30)
    world.run(*(f"running{i}" for i in range(10)), state=RunState.RUNNING)
    world.run(*(f"launching{i}" for i in range(7)), state=RunState.LAUNCHING)
    world.run(*(f"done{i}" for i in range(50)), state=RunState.DONE)
    batches = [[f"r{batch}-{i}" for i in range(10)] for batch in range(8)]
    for batch in batches:
        world.run(*batch)
    claimed = at_once(8, lambda number: world.claim("prod-1", batches[number], now, settings))
    assert sum(map(len, claimed)) == 30 - 17
    waiting = [run for run in world.runs if run.state == RunState.PENDING]
    assert len(waiting) == 80 - 13
    assert {(run.held, run.wake_at) for run in waiting} == {(True, now + settings.resend_after)}


def test_a_cluster_over_its_cap_gets_no_runs(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.change(Cluster, max_in_flight=2)
    world.run("a", "b", "c", state=RunState.RUNNING)
    world.run("r1")
    assert world.claim("prod-1", ["r1"], now, settings) == []
    assert world.find("r1").held


def test_runs_on_other_clusters_do_not_count_for_the_cap(
    world: ExecutionWorld, now: datetime, settings: Settings
) -> None:
    world.change(Cluster, max_in_flight=1)
    world.run("elsewhere", cluster="prod-2", state=RunState.RUNNING)
    world.run("r1")
    assert world.claim("prod-1", ["r1"], now, settings) == ["r1"]


def test_the_longest_due_are_claimed_first(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.change(Cluster, max_in_flight=2)
    for minutes, name in ((1, "newest"), (3, "oldest"), (2, "middle")):
        world.run(name, due_at=now - timedelta(minutes=minutes))
    assert sorted(world.claim("prod-1", ["newest", "middle", "oldest"], now, settings)) == ["middle", "oldest"]


def test_a_run_in_its_back_off_is_neither_claimed_nor_held(
    world: ExecutionWorld, now: datetime, settings: Settings
) -> None:
    world.run("r1", launch_at=now + SECOND, wake_at=now + SECOND)
    assert world.claim("prod-1", ["r1"], now, settings) == []
    assert (world.find("r1").held, world.find("r1").wake_at) == (False, now + SECOND)
    assert world.claim("prod-1", ["r1"], now + SECOND, settings) == ["r1"]


def test_held_runs_are_found_by_cluster_the_longest_due_first(world: ExecutionWorld, now: datetime) -> None:
    for minutes, name in ((1, "newest"), (3, "oldest"), (2, "middle")):
        world.run(name, due_at=now - timedelta(minutes=minutes), held=True)
    world.run("not-held")
    world.run("elsewhere", cluster="prod-2", held=True)
    world.run("ended", held=True, state=RunState.DONE)
    with world.store.reading() as session:
        assert [run.id for run in held_runs(session, ["prod-1", "prod-3"], 2)] == ["oldest", "middle"]


def test_a_claim_costs_the_same_for_any_number_of_runs(
    world: ExecutionWorld, now: datetime, settings: Settings
) -> None:
    world.change(Cluster, max_in_flight=1000)
    costs = []
    for count in (1, 50):
        names = [f"{count}-{i}" for i in range(count)]
        world.run(*names)
        with statements(world.store) as seen:
            world.claim("prod-1", names, now, settings)
        costs.append(len(seen))
    assert costs == [2, 2]


def test_counting_runs_in_flight_reads_open_runs_only(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.run(*(f"done{i}" for i in range(3000)), state=RunState.DONE)
    world.run("r1")
    with world.store.writing() as session:
        session.connection().exec_driver_sql("ANALYZE")
    with statements(world.store) as seen:
        world.claim("prod-1", ["r1"], now, settings)
        with world.store.reading() as session:
            held_runs(session, ["prod-1"], 10)
    explain = {"postgresql": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}[world.store.engine.dialect.name]
    with world.store.engine.begin() as connection:
        for statement, parameters in seen[1:]:
            plan = connection.exec_driver_sql(explain + statement, parameters)
            explained = "\n".join(" ".join(map(str, row)) for row in plan)
            assert "ix_run_" in explained, explained
            assert "SCAN run" not in explained, explained
            assert "Seq Scan on run" not in explained, explained
    assert world.states()["r1"] == RunState.LAUNCHING
    world.change(Run, col(Run.id) == "r1", state=RunState.DONE)


def test_a_run_that_is_held_again_and_again_is_sent_ever_more_rarely(
    world: ExecutionWorld, now: datetime, settings: Settings
) -> None:
    """It is woken when a pod ends; the message after a wait is for a wake that was lost."""
    world.change(Cluster, max_in_flight=1)
    world.run("running", state=RunState.RUNNING)
    world.run("held")
    waits, moment = [], now
    for _ in range(7):
        assert world.claim("prod-1", ["held"], moment, settings) == []
        wake_at = world.find("held").wake_at
        waits.append(wake_at - moment)
        assert [run.id for run in resend_overdue(world.store, wake_at, settings)] == ["held"]
        moment = wake_at
    first = settings.resend_after
    assert waits == [first, 2 * first, 4 * first, 8 * first, 16 * first, 16 * first, 16 * first]
