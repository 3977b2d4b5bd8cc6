"""Retention: expired runs are unknown with the best known reason, and old runs are deleted."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from kubeprobe.clock import TimeLimit
from kubeprobe.runs import close
from kubeprobe.runs.retention import BATCH, delete_old_runs, expire, expire_all, set_aside_invalid_times
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, PodLocation, Run, RunLog
from kubeprobe.store.types import UTCDateTime
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.given import ExecutionWorld, ending
from tests.services.trigger.given import at_once

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({"state": RunState.PENDING}, Reason.NOT_LAUNCHED, "for a launcher"),
        ({"state": RunState.PENDING, "held": True}, Reason.NOT_LAUNCHED, "cap on pods"),
        ({"state": RunState.LAUNCHING}, Reason.NOT_LAUNCHED, "for a launcher"),
        (
            {"state": RunState.PENDING, "setback": Reason.QUOTA_EXCEEDED, "setback_message": "exceeded quota: q"},
            Reason.QUOTA_EXCEEDED,
            "exceeded quota: q",
        ),
        ({"state": RunState.PENDING, "setback": Reason.EVICTED}, Reason.EVICTED, "Retried until"),
        ({"state": RunState.RUNNING, "pod": "kp"}, Reason.LOST, "Is a collector running?"),
        ({"state": RunState.RUNNING, "setback": Reason.EVICTED}, Reason.LOST, "completion was never observed"),
        ({"state": RunState.RUNNING, "cluster": "removed"}, Reason.CLUSTER_REMOVED, "Cluster removed was removed"),
        ({"state": RunState.PENDING, "cluster": "removed"}, Reason.CLUSTER_REMOVED, "Cluster removed was removed"),
    ],
)
def test_an_expired_run_is_unknown_with_the_best_known_reason(
    world: ExecutionWorld, now: datetime, fields: dict[str, Any], reason: Reason, message: str
) -> None:
    world.run("r1", expires_at=now, **fields)
    assert expire(world.store, now - SECOND).count == 0
    expired = expire(world.store, now)
    assert (expired.count, [run.id for run in expired.with_pods]) == (1, ["r1"] if "pod" in fields else [])
    [outcome] = world.outcomes
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, reason)
    assert message in outcome.message
    assert world.states() == {"r1": RunState.DONE}


def test_an_expired_run_on_an_unreachable_cluster_has_that_reason(world: ExecutionWorld, now: datetime) -> None:
    world.change(Cluster, failures=5, collector="c1")
    world.run("r1", state=RunState.RUNNING, expires_at=now)
    expire(world.store, now)
    assert world.verdicts == {"r1": (Verdict.UNKNOWN, Reason.CLUSTER_UNREACHABLE)}


def test_a_failed_creation_is_not_the_reason_of_an_unwatched_run(world: ExecutionWorld, now: datetime) -> None:
    world.change(Cluster, failures=1)
    world.run("r1", state=RunState.RUNNING, expires_at=now)
    expire(world.store, now)
    assert world.verdicts == {"r1": (Verdict.UNKNOWN, Reason.LOST)}


def test_a_run_at_a_former_location_that_did_not_respond_has_that_reason(world: ExecutionWorld, now: datetime) -> None:
    values = {"cluster": "prod-1", "cluster_created_at": now, "namespace": "old", "connection": b""}
    with world.store.writing() as session:
        session.add(PodLocation(id="there", connection_version=1, left_at=now, **values))
    world.run("r1", state=RunState.RUNNING, location="there", expires_at=now)
    expire(world.store, now)
    assert world.verdicts == {"r1": (Verdict.UNKNOWN, Reason.CLUSTER_UNREACHABLE)}
    assert "former location" in world.outcomes[0].message


def test_an_open_run_that_has_an_outcome_does_not_stop_the_others_from_expiring(
    world: ExecutionWorld, now: datetime
) -> None:
    world.run("odd", "r1", state=RunState.RUNNING, expires_at=now, setback="NotAReason")
    with world.store.writing() as session:
        close(session, [ending("odd")], now)
    world.change(Run, state=RunState.RUNNING)
    world.run("r2", state=RunState.PENDING, expires_at=now, setback="NotAReason")
    assert expire(world.store, now).count == 3
    assert world.verdicts == {
        "odd": (Verdict.PASS, Reason.PASSED),
        "r1": (Verdict.UNKNOWN, Reason.LOST),
        "r2": (Verdict.UNKNOWN, Reason.NOT_LAUNCHED),
    }


def test_all_expired_runs_are_closed_by_one_task(world: ExecutionWorld, now: datetime) -> None:
    world.run(*(f"r{i}" for i in range(2 * BATCH + 1)), expires_at=now)
    assert [expired.count for expired in expire_all(world.store, lambda: now, TimeLimit(SECOND, lambda: 0))] == [
        BATCH,
        BATCH,
        1,
    ]


def test_a_task_closes_expired_runs_for_a_limited_time(world: ExecutionWorld, now: datetime) -> None:
    world.run(*(f"r{i}" for i in range(2 * BATCH)), expires_at=now)
    limit = TimeLimit(SECOND, iter((0.0, 1.0)).__next__)
    assert [expired.count for expired in expire_all(world.store, lambda: now, limit)] == [BATCH]


def test_a_run_that_has_ended_does_not_expire(world: ExecutionWorld, now: datetime) -> None:
    world.run("r1", state=RunState.DONE, expires_at=now - SECOND)
    assert expire(world.store, now).count == 0


def test_concurrent_expiry_closes_each_run_once(world: ExecutionWorld, now: datetime) -> None:
    names = [f"r{i}" for i in range(100)]
    world.run(*names, state=RunState.RUNNING, pod="kp", expires_at=now)
    expired = at_once(4, lambda _: expire(world.store, now))
    assert sum(part.count for part in expired) == 100
    assert sorted(run.id for part in expired for run in part.with_pods) == sorted(names)


def test_expired_runs_are_closed_in_batches(world: ExecutionWorld, now: datetime) -> None:
    world.run(*(f"r{i}" for i in range(BATCH + 1)), expires_at=now)
    assert [expire(world.store, now).count for _ in range(3)] == [BATCH, 1, 0]


def test_old_runs_are_deleted_with_outcomes_and_logs(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    world.run("old", "new", "open", state=RunState.RUNNING)
    for name, age in (("old", settings.keep_outcomes + SECOND), ("new", settings.keep_outcomes - SECOND)):
        with world.store.writing() as session:
            close(session, [ending(name)], now - age)
            session.add(RunLog(run_id=name, tail="...", stored_at=now - age))
    assert delete_old_runs(world.store, now, settings) == 1
    assert delete_old_runs(world.store, now, settings) == 0
    assert sorted(world.states()) == ["new", "open"]
    assert [outcome.run_id for outcome in world.outcomes] == ["new"]
    with world.store.reading() as session:
        assert session.exec(select(RunLog.run_id)).all() == ["new"]


def test_old_runs_are_deleted_in_batches(world: ExecutionWorld, now: datetime, settings: Settings) -> None:
    names = [f"r{i}" for i in range(BATCH + 20)]
    world.run(*names, state=RunState.RUNNING)
    with world.store.writing() as session:
        close(session, [ending(name) for name in names], now)
    later = now + settings.keep_outcomes + SECOND
    assert [delete_old_runs(world.store, later, settings) for _ in range(3)] == [BATCH, 20, 0]


INVALID = ["", "soon", "2026-02-31 12:00:00.000000", "2026-01-01", "2026-01-01 00:00:00.0000001"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL refuses such values
@pytest.mark.parametrize("column", ["due_at", "created_at"])
@pytest.mark.parametrize("invalid", INVALID)
def test_a_run_with_an_invalid_time_stops_no_other_from_expiring(
    world: ExecutionWorld, now: datetime, column: str, invalid: str
) -> None:
    world.run("r1", "r2", "r3", state=RunState.RUNNING, expires_at=now)
    corrupt(world, "r2", column, invalid)
    assert expire(world.store, now).count == 3
    assert len(world.outcomes) == 3
    assert expire(world.store, now).count == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", sorted({c.name for c in Run.__table__.c if isinstance(c.type, UTCDateTime)}))
@pytest.mark.parametrize("invalid", INVALID)
def test_only_what_cannot_be_read_is_replaced(world: ExecutionWorld, now: datetime, column: str, invalid: str) -> None:
    world.run("r1", "r2", state=RunState.RUNNING, expires_at=now, created_at=now)
    before = world.find("r1")
    corrupt(world, "r2", column, invalid)
    assert set_aside_invalid_times(world.store, now) == ["r2"]
    assert world.find("r1") == before
    assert getattr(world.find("r2"), column) == (None if Run.__table__.c[column].nullable else now)
    assert set_aside_invalid_times(world.store, now) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("invalid", INVALID)
def test_an_invalid_time_of_a_former_location_stops_no_run_from_expiring(
    world: ExecutionWorld, now: datetime, invalid: str
) -> None:
    values = {"cluster": "prod-1", "cluster_created_at": now, "namespace": "old", "connection": b""}
    with world.store.writing() as session:
        session.add(PodLocation(id="there", connection_version=1, left_at=now, **values))
        session.flush()
        session.connection().exec_driver_sql("UPDATE pod_location SET left_at = ?", (invalid,))
    world.run("r1", "r2", state=RunState.RUNNING, location="there", expires_at=now)
    assert expire(world.store, now).count == 2


def corrupt(world: ExecutionWorld, run: str, column: str, value: str) -> None:
    with world.store.writing() as session:
        connection = session.connection()
        connection.exec_driver_sql(f"UPDATE run SET {column} = ? WHERE id = ?", (value, run))
