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


def tell(world: ExecutionWorld, *endings: Ending) -> list[str]:
    """Record these endings; the runs that ended by it."""
    with world.store.writing() as session:
        return close(session, endings, world.noon + timedelta(seconds=30))


def test_an_outcome_holds_what_was_judged_and_the_run_its_pod(world: ExecutionWorld, now: datetime) -> None:
    world.run("r1", state=RunState.RUNNING)
    started = now + timedelta(seconds=3)
    found = replace(FAILED, report={"ok": False}, node="n1", scheduled_at=now, started_at=started, finished_at=started)
    created = now + timedelta(seconds=1)
    assert tell(world, replace(ending("r1", found), created_at=created)) == ["r1"]
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
def test_a_run_ends_in_whatever_state_it_was(world: ExecutionWorld, state: RunState) -> None:
    """A pod may end before its launcher has written down that it exists."""
    world.run("r1", state=state)
    assert tell(world, ending("r1")) == ["r1"]


def test_a_run_that_is_told_twice_has_the_outcome_that_was_told_first(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING)
    assert tell(world, ending("r1", PASSED)) == ["r1"]
    assert tell(world, ending("r1", FAILED)) == []
    assert world.verdicts == {"r1": (PASS, Reason.PASSED)}


def test_two_endings_of_a_run_in_one_group_are_one_outcome_the_first(world: ExecutionWorld) -> None:
    world.run("r1", "r2", state=RunState.RUNNING)
    told = tell(world, ending("r1", PASSED), ending("r2", FAILED), ending("r1", FAILED))
    assert sorted(told) == ["r1", "r2"]
    assert world.verdicts == {"r1": (PASS, Reason.PASSED), "r2": (FAIL, Reason.REPORTED_FAILURE)}


def test_many_collectors_at_once_store_one_outcome_for_each_run(world: ExecutionWorld) -> None:
    names = [f"r{i:03}" for i in range(100)]
    world.run(*names, state=RunState.RUNNING)
    told = at_once(4, lambda _: tell(world, *(ending(name) for name in names)))
    assert sorted(run for part in told for run in part) == names
    assert len(world.outcomes) == 100


def test_collectors_that_tell_the_same_in_another_order_do_not_lock_each_other_out(world: ExecutionWorld) -> None:
    names = [f"r{i:04}" for i in range(1200)]
    world.run(*names, state=RunState.RUNNING)

    def tell_all(number: int) -> int:
        mine = random.Random(number).sample(names, len(names))
        groups = (mine[i : i + 300] for i in range(0, len(mine), 300))
        return sum(len(tell(world, *map(ending, group))) for group in groups)

    assert sum(at_once(4, tell_all)) == len(names)


def test_an_unknown_run_is_no_error(world: ExecutionWorld) -> None:
    assert tell(world, ending("nobodys")) == []
    assert world.outcomes == []


def test_a_late_word_of_an_earlier_attempt_changes_nothing(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING, attempt=2)
    assert tell(world, ending("r1", FAILED, attempt=1)) == []
    assert world.find("r1").state == RunState.RUNNING
    assert tell(world, ending("r1", PASSED, attempt=2)) == ["r1"]


def test_an_ending_without_an_attempt_ends_any(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING, attempt=3)
    assert tell(world, ending("r1", FAILED, attempt=None)) == ["r1"]


def test_an_evicted_run_is_tried_again_at_once_with_another_attempt(world: ExecutionWorld, now: datetime) -> None:
    world.run("r1", state=RunState.RUNNING, pod="kp-r1", pod_uid="uid-r1", wakes=3)
    assert tell(world, ending("r1", EVICTED, retries=1)) == []
    run = world.find("r1")
    assert (run.state, run.attempt, run.pod, run.pod_uid, run.wakes) == (RunState.PENDING, 2, None, None, 0)
    assert run.wake_at == run.launch_at == now + timedelta(seconds=30)
    assert (run.setback, run.setback_message) == (Reason.EVICTED, "low on memory")
    assert world.outcomes == []


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_attempts_are_bounded(world: ExecutionWorld, retries: int) -> None:
    world.run("r1", state=RunState.RUNNING)
    for attempt in range(1, retries + 1):
        assert tell(world, ending("r1", EVICTED, attempt=attempt, retries=retries)) == []
    assert tell(world, ending("r1", EVICTED, attempt=retries + 1, retries=retries)) == ["r1"]
    assert world.verdicts == {"r1": (UNKNOWN, Reason.EVICTED)}


@pytest.mark.parametrize("reason", [Reason.EVICTED, Reason.PREEMPTED, Reason.NODE_LOST])
def test_what_the_cluster_is_to_blame_for_is_retried(world: ExecutionWorld, reason: Reason) -> None:
    world.run("r1", state=RunState.RUNNING)
    assert tell(world, ending("r1", replace(EVICTED, reason=reason), retries=1)) == []


@pytest.mark.parametrize("judgement", [PASSED, FAILED, replace(EVICTED, reason=Reason.OOM_KILLED)])
def test_what_the_probe_answers_for_is_not_tried_again(world: ExecutionWorld, judgement: Judgement) -> None:
    world.run("r1", state=RunState.RUNNING)
    assert tell(world, ending("r1", judgement, retries=5)) == ["r1"]


def test_an_eviction_that_is_told_twice_is_tried_again_once(world: ExecutionWorld) -> None:
    world.run("r1", state=RunState.RUNNING)
    evicted = ending("r1", EVICTED, retries=5)
    tell(world, evicted, evicted)
    tell(world, evicted)
    assert world.find("r1").attempt == 2


@pytest.mark.parametrize("count", [1, 300])
def test_a_group_costs_two_statements(world: ExecutionWorld, count: int, settings: Settings) -> None:
    names = [f"r{i}" for i in range(count)]
    world.run(*names, state=RunState.RUNNING)
    with statements(world.store) as seen:
        assert len(tell(world, *(ending(name) for name in names))) == count
    assert len(seen) == 2


def test_nothing_to_record_costs_nothing(world: ExecutionWorld) -> None:
    with statements(world.store) as seen:
        assert tell(world) == []
    assert seen == []


def test_transactions_that_write_the_same_runs_in_any_order_never_wait_for_each_other(
    world: ExecutionWorld, now: datetime, settings: Settings
) -> None:
    """PostgreSQL ends one of two transactions that wait for each other."""
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
                    put_off(session, [Setback(i, 1, now, Reason.CLUSTER_ERROR, "") for i in ids], now, settings)
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
