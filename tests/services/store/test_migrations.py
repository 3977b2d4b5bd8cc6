"""Migrations go up and down on data, and end in the tables that the code expects."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, inspect
from sqlmodel import Session, SQLModel, col, select

from kubeprobe.jsonmodel import from_json
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.store import (
    Alert,
    Binding,
    Change,
    Cluster,
    Collector,
    Installation,
    Notification,
    Outcome,
    Run,
    Schedule,
    Standing,
    Store,
    TargetHealth,
    open_store,
)
from kubeprobe.store.migrate import SchemaOutdatedError, check_schema, migrate
from kubeprobe.vocabulary import Subject, Trigger, Verdict


@pytest.fixture
def unmigrated(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'new.db'}")
    yield opened
    opened.close()


def fill(session: Session, now: datetime) -> None:
    """At least one row in each important table, with references to others."""
    run = {"case": "c", "cluster": "k", "trigger": Trigger.MANUAL, "due_at": now}
    session.add(Cluster(name="k", connection_kind="local", connection=b"sealed", created_at=now))
    session.add(Binding(name="b", spec={"cases": ["c"]}, digest="d", applied_at=now))
    session.add(Schedule(binding="b", case="c", cluster="k", pool="default", every_s=60, next_due=now))
    session.add(Change(id="change", component="coredns", clusters=["k"], happened_at=now))
    times = {"opened_at": now, "launch_at": now, "wake_at": now, "expires_at": now}
    session.add(Run(id="r", slot="s", pool="default", **run, **times))
    session.flush()
    session.add(Outcome(run_id="r", verdict=Verdict.FAIL, reason="ReportedFailure", stored_at=now, **run))
    standing = {"cluster": "k", "case": "c", "due_at": now, "since": now, "run_id": "r"}
    session.add(Standing(verdict=Verdict.FAIL, fails=1, **standing))
    values = {"kind": "fail", "reason": "ReportedFailure", "first_run_id": "r", "last_run_id": "r", "opened_at": now}
    session.add(Alert(id="i", cluster="k", case="c", **values))
    session.flush()
    session.add(
        Notification(id="n", alert_id="i", event="opened", route="r", target="t", payload={"a": 1}, next_attempt_at=now)
    )


def test_migrations_go_down_and_up_with_data_in_all_tables(store: Store, now: datetime) -> None:
    with store.writing() as session:
        fill(session, now)
    migrate(store, now, "base")
    assert set(inspect(store.engine).get_table_names()) <= {"alembic_version"}
    migrate(store, now)
    with store.writing() as session:
        fill(session, now)
        assert session.exec(select(Outcome)).one().verdict == Verdict.FAIL


def test_data_and_installation_are_kept_when_already_migrated(store: Store, now: datetime) -> None:
    with store.writing() as session:
        fill(session, now)
        before = session.exec(select(Installation)).one().id
    migrate(store, now)
    with store.reading() as session:
        assert session.exec(select(Installation)).one().id == before
        assert session.exec(select(Run)).one().id == "r"


def test_migrations_end_in_the_tables_that_the_code_expects(store: Store) -> None:
    with store.writing() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_an_unmigrated_store_is_rejected_with_the_command_to_run(unmigrated: Store) -> None:
    with pytest.raises(SchemaOutdatedError, match="Run `kubeprobe migrate`"):
        check_schema(unmigrated)


OPENING = {
    "kind": "failed",
    "incident": "i",
    "incident_kind": "fail",
    "run": "r",
    "case": "c",
    "cluster": "k",
    "severity": "critical",
    "owner": "",
    "runbook": "",
    "verdict": "fail",
    "reason": "ReportedFailure",
    "why": "",
    "errors": [],
    "since": "2026-11-23T12:00:00+00:00",
    "until": None,
}
"""As version 0.1.0 stored it: without a node."""


def fill_with_incidents(session: Session, now: datetime) -> None:
    """An open and a closed incident, each with what was sent and what was not, in the tables of revision 0004."""
    tables = MetaData()
    tables.reflect(session.connection(), only=["incident", "notification"])
    incident, notification = tables.tables["incident"], tables.tables["notification"]
    moment = now.replace(tzinfo=None) if session.get_bind().dialect.name == "sqlite" else now
    for name, closed_at in (("i", None), ("old", moment)):
        values = {"cluster": "k", "case": name, "node": "", "kind": "fail", "severity": "critical", "reason": "Lost"}
        runs = {"message": "", "first_run_id": "r", "last_run_id": "r", "opened_at": moment, "closed_at": closed_at}
        session.execute(incident.insert().values(id=name, **values, **runs))
    for number, (of, event, state, kind) in enumerate(
        (
            ("i", "opened", "sent", "failed"),
            ("old", "opened", "sent", "failed"),
            ("old", "closed", "pending", "known-again"),
        )
    ):
        session.execute(
            notification.insert().values(
                id=str(number),
                incident_id=of,
                event=event,
                route="r",
                target="t",
                payload=OPENING | {"kind": kind},
                state=state,
                attempts=0,
                next_attempt_at=moment,
                last_error="",
            )
        )


def test_incidents_become_alerts_with_messages_that_are_read_again_and_back(store: Store, now: datetime) -> None:
    migrate(store, now, "0004")
    with store.writing() as session:
        fill_with_incidents(session, now)
    migrate(store, now)
    with store.reading() as session:
        assert {row.id: row.closed_at is None for row in session.exec(select(Alert))} == {"i": True, "old": False}
        found = {row.id: row for row in session.exec(select(Notification))}
        opening, closing = (from_json(Message, found[key].payload) for key in ("0", "2"))
        assert (opening.alert, opening.subject, opening.kind) == ("i", Subject("k"), MessageKind.FAILED)
        assert closing.kind is MessageKind.RESTORED
        assert "incident" in found["1"].payload, "a message that nobody reads again is left as it is"
    migrate(store, now, "0004")
    with store.reading() as session:
        texts = session.connection().exec_driver_sql("SELECT payload FROM notification WHERE incident_id = 'i'")
        payload = texts.scalar_one()
        assert (json.loads(payload) if isinstance(payload, str) else payload) == OPENING


def test_notifications_get_the_line_and_the_order_of_their_alerts(store: Store, now: datetime) -> None:
    alert = {"cluster": "k", "case": "c", "kind": "fail", "reason": "x", "first_run_id": "r", "last_run_id": "r"}
    sent = {"route": "r", "target": "t", "payload": {"a": 1}, "next_attempt_at": now}
    with store.writing() as session:
        session.add(Alert(id="2", opened_at=now, node="n", **alert))
        session.add(Alert(id="1", opened_at=now - timedelta(hours=1), closed_at=now, **alert | {"cluster": "other"}))
        session.flush()
        for name, alert_id, event, attempts in (
            ("z", "1", "opened", 1),
            ("y", "1", "closed", 0),
            ("x", "2", "opened", 0),
        ):
            ulid = f"01m8464xa0{name}"  # of one millisecond: the rest is random
            session.add(Notification(id=ulid, alert_id=alert_id, event=event, attempts=attempts, **sent))
    migrate(store, now, "0007")
    migrate(store, now)
    with store.reading() as session:
        found = session.exec(select(Notification).order_by(col(Notification.version))).all()
    assert [(row.cluster, row.node, row.kind, row.event, row.may_have_arrived) for row in found] == [
        ("other", "", "fail", "opened", True),
        ("other", "", "fail", "closed", False),
        ("k", "n", "fail", "opened", False),
    ]
    assert [row.payload for row in found] == [{"a": 1}] * 3


def test_alerts_notifications_and_targets_survive_the_migration_of_deliveries(store: Store, now: datetime) -> None:
    with store.writing() as session:
        fill(session, now)
        session.add(TargetHealth(route="r", target="t", failures=3, retry_at=now, spec_digest="d"))
        session.get_one(Alert, "i").unreadable_routes = ["old"]
    migrate(store, now, "0010")
    migrate(store, now)
    with store.reading() as session:
        health, alert = session.exec(select(TargetHealth)).one(), session.exec(select(Alert)).one()
        assert (health.failures, health.retry_at, health.spec_digest) == (3, now, "")
        assert (alert.id, alert.unreadable_routes) == ("i", None)
        assert session.exec(select(Notification)).one().payload == {"a": 1}


def test_the_leases_of_collectors_are_kept(store: Store, now: datetime) -> None:
    """Their other column, the time of the last renewal, followed from the lease."""
    later = now + timedelta(seconds=10)
    with store.writing() as session:
        session.add(Collector(name="renewed", pool="default", leased_until=later))
        session.add(Collector(name="old", pool="default", leased_until=now))
    migrate(store, now, "0011")
    with store.writing() as session:
        # As a version before 0009 wrote it.
        session.connection().exec_driver_sql("UPDATE collector SET leased_until = NULL WHERE name = 'old'")
    migrate(store, now)
    with store.reading() as session:
        found = {row.name: row.leased_until for row in session.exec(select(Collector))}
    assert found == {"renewed": later, "old": now}
