"""Migrations go up and down on data, and end in the tables that the code expects."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlmodel import Session, SQLModel, select

from kubeprobe.store import (
    Alert,
    Binding,
    Change,
    Cluster,
    Installation,
    Notification,
    Outcome,
    Run,
    Schedule,
    Standing,
    Store,
    open_store,
)
from kubeprobe.store.migrate import SchemaOutdatedError, check_schema, migrate
from kubeprobe.vocabulary import Trigger, Verdict


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
