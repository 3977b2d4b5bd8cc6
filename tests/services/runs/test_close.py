"""Closing runs: one outcome for each, however often its end is observed."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlmodel import col, delete, update

from kubeprobe.runs import Ending, Judgement, Setback, claim, close, lock_cluster, put_off, replace_runs
from kubeprobe.runs.rows import in_id_order
from kubeprobe.settings import Settings
from kubeprobe.store import Outcome, Run
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.given import EVICTED, FAILED, PASSED, ExecutionWorld, ending
from tests.services.trigger.given import at_once, statements

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def close_all(world: ExecutionWorld, *endings: Ending) -> list[str]:
    """Store these endings; returns the runs that they closed."""
    with world.store.writing() as session:
        return close(session, endings, world.noon + timedelta(seconds=30))


def test_an_outcome_has_the_judgement_and_the_run_its_pod(world: ExecutionWorld, now: datetime) -> None:
    world.run("r1", state=RunState.RUNNING)
    started = now + timedelta(seconds=3)
    found = replace(FAILED, report={"ok": False}, node="n1", scheduled_at=now, started_at=started, finished_at=started)
    created = now + timedelta(seconds=1)
    assert close_all(world, replace(ending("r1", found), created_at=created)) == ["r1"]
    [outcome], run = world.outcomes, world.find("r1")
    assert (outcome.verdict, outcome.reason, outcome.message, outcome.exit_code) == (
        FAIL,
        Reason.REPORTED_FAILURE,
        "no",
        1,
    )
    assert (outcome.report, outcome.node, outcome.started_at) == ({"ok": False}, "n1", started)
    assert (outcome.case, outcome.cluster, outcome.due_at) == ("pod-lifecycle", "prod-1", now)
    assert outcome.stored_at == now + timedelta(seconds=30)
    assert (run.state, run.pod, run.pod_uid, run.created_at) == (RunState.DONE, "kp-r1", "uid-r1", created)


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.LAUNCHING, RunState.RUNNING])
def test_a_run_is_closed_from_every_state(world: ExecutionWorld, state: RunState) -> None:
    """A pod may end before its launcher has recorded it."""
    world.run("r1", state=state)
    assert close_all(world, ending("r1")) == ["r1"]


def test_a_run_that_is_closed_twice_keeps_the_first_outcome(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING)
    assert close_all(world, ending("r1", PASSED)) == ["r1"]
    assert close_all(world, ending("r1", FAILED)) == []
    assert world.verdicts == {"r1": (PASS, Reason.PASSED)}


def test_of_two_endings_in_one_group_the_first_is_stored(world: ExecutionWorld) -> None:
    world.run("r1", "r2", state=RunState.RUNNING)
    closed = close_all(world, ending("r1", PASSED), ending("r2", FAILED), ending("r1", FAILED))
    assert sorted(closed) == ["r1", "r2"]
    assert world.verdicts == {"r1": (PASS, Reason.PASSED), "r2": (FAIL, Reason.REPORTED_FAILURE)}


def test_many_collectors_at_once_store_one_outcome_for_each_run(world: ExecutionWorld) -> None:
    names = [f"r{i:03}" for i in range(100)]
    world.run(*names, state=RunState.RUNNING)
    closed = at_once(4, lambda _: close_all(world, *(ending(name) for name in names)))
    assert sorted(run for part in closed for run in part) == names
    assert len(world.outcomes) == 100


def test_collectors_that_close_the_same_runs_in_another_order_do_not_deadlock(world: ExecutionWorld) -> None:
    names = [f"r{i:04}" for i in range(1200)]
    world.run(*names, state=RunState.RUNNING)

    def tell_all(number: int) -> int:
        mine = random.Random(number).sample(names, len(names))
        groups = (mine[i : i + 300] for i in range(0, len(mine), 300))
        return sum(len(close_all(world, *map(ending, group))) for group in groups)

    assert sum(at_once(4, tell_all)) == len(names)


def test_an_unknown_run_is_ignored(world: ExecutionWorld) -> None:
    assert close_all(world, ending("nobodys")) == []
    assert world.outcomes == []


def test_a_late_observation_of_an_earlier_attempt_changes_nothing(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING, attempt=2)
    assert close_all(world, ending("r1", FAILED, attempt=1)) == []
    assert world.find("r1").state == RunState.RUNNING
    assert close_all(world, ending("r1", PASSED, attempt=2)) == ["r1"]


def test_an_ending_without_an_attempt_closes_any_attempt(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING, attempt=3)
    assert close_all(world, ending("r1", FAILED, attempt=None)) == ["r1"]


def test_an_evicted_run_is_retried_at_once_with_a_new_attempt(world: ExecutionWorld, now: datetime) -> None:
    world.run("r1", state=RunState.RUNNING, pod="kp-r1", pod_uid="uid-r1", wakes=3)
    assert close_all(world, ending("r1", EVICTED, retries=1)) == []
    run = world.find("r1")
    assert (run.state, run.attempt, run.pod, run.pod_uid, run.wakes) == (RunState.PENDING, 2, None, None, 0)
    assert run.wake_at == run.launch_at == now + timedelta(seconds=30)
    assert (run.setback, run.setback_message) == (Reason.EVICTED, "low on memory")
    assert world.outcomes == []


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_attempts_are_bounded(world: ExecutionWorld, retries: int) -> None:
    world.run("r1", state=RunState.RUNNING)
    for attempt in range(1, retries + 1):
        assert close_all(world, ending("r1", EVICTED, attempt=attempt, retries=retries)) == []
    assert close_all(world, ending("r1", EVICTED, attempt=retries + 1, retries=retries)) == ["r1"]
    assert world.verdicts == {"r1": (UNKNOWN, Reason.EVICTED)}


@pytest.mark.parametrize("reason", [Reason.EVICTED, Reason.PREEMPTED, Reason.NODE_LOST])
def test_pods_removed_by_the_cluster_are_retried(world: ExecutionWorld, reason: Reason) -> None:
    world.run("r1", state=RunState.RUNNING)
    assert close_all(world, ending("r1", replace(EVICTED, reason=reason), retries=1)) == []


@pytest.mark.parametrize("judgement", [PASSED, FAILED, replace(EVICTED, reason=Reason.OOM_KILLED)])
def test_results_of_the_probe_are_not_retried(world: ExecutionWorld, judgement: Judgement) -> None:
    world.run("r1", state=RunState.RUNNING)
    assert close_all(world, ending("r1", judgement, retries=5)) == ["r1"]


def test_an_eviction_that_is_observed_twice_is_retried_once(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING)
    evicted = ending("r1", EVICTED, retries=5)
    close_all(world, evicted, evicted)
    close_all(world, evicted)
    assert world.find("r1").attempt == 2


@pytest.mark.parametrize("count", [1, 300])
def test_a_group_costs_two_statements(world: ExecutionWorld, count: int, settings: Settings) -> None:
    names = [f"r{i}" for i in range(count)]
    world.run(*names, state=RunState.RUNNING)
    with statements(world.store) as seen:
        assert len(close_all(world, *(ending(name) for name in names))) == count
    assert len(seen) == 2


def test_no_endings_cost_no_statement(world: ExecutionWorld) -> None:
    with statements(world.store) as seen:
        assert close_all(world) == []
    assert seen == []


def test_transactions_that_write_the_same_runs_in_any_order_do_not_deadlock(
    world: ExecutionWorld, now: datetime, settings: Settings
) -> None:
    """PostgreSQL aborts one of two transactions in a deadlock."""
    run_ids = [f"r{number:03}" for number in range(60)]
    world.run(*run_ids, state=RunState.LAUNCHING)
    chance = random.Random(20261129)

    def act(number: int, ids: list[str]) -> None:
        half = len(ids) // 2
        with world.store.writing() as session:
            match number % 4:
                case 0:  # some are tried again, the others get their outcome
                    evicted = [ending(run_id, EVICTED, attempt=None, retries=9) for run_id in ids[:half]]
                    close(session, [replace(e, attempt=1) for e in evicted] + [ending(i) for i in ids[half:]], now)
                case 1:
                    put_off(session, [Setback(i, 1, None, now, Reason.CLUSTER_ERROR, "") for i in ids], now, settings)
                case 2:
                    replace_runs(session, ids, now)
                case _:
                    locked = lock_cluster(session, "prod-1")
                    assert locked is not None
                    claim(session, locked[0], ids, now, settings)

    def write(number: int) -> None:
        for _ in range(10):
            act(number, chance.sample(run_ids, len(run_ids)))
            again = {"state": (RunState.PENDING, RunState.LAUNCHING)[number % 2], "attempt": 1, "launch_at": now}
            with world.store.writing() as session:
                session.execute(update(Run).where(in_id_order(run_ids)).values(**again))
                session.execute(delete(Outcome).where(col(Outcome.run_id).in_(run_ids)))

    at_once(8, write)
    assert world.states().keys() == set(run_ids)
