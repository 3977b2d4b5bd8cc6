"""Housekeeping deletes what is old, whatever table it is in, and keeps the rest."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlmodel import select

from kubeprobe.app import Installation
from kubeprobe.clock import TimeLimit
from kubeprobe.execution.launch import Launcher
from kubeprobe.queue import Queue, Task
from kubeprobe.settings import Settings
from kubeprobe.store import Alert, Change, Collector, Leftover, Store
from kubeprobe.store.engine import DELETED_AT_ONCE
from kubeprobe.trigger import due_housekeeping
from workers import housekeeping
from workers.app import app
from workers.context import WorkerContext
from workers.deliveries import Deliveries

SECOND = timedelta(seconds=1)


@pytest.fixture
def settings(store: Store, now: datetime, tmp_path: Path) -> Iterator[Settings]:
    """Of the installation that the tasks work with; their clock stands at `now`."""
    found = Settings(data_dir=tmp_path)
    installation = Installation(found, store, Queue.connect("redis://127.0.0.1:1/0"), clock=lambda: now)
    app.context = WorkerContext(installation, Launcher.__new__(Launcher), Deliveries.__new__(Deliveries))
    yield found
    del app.context


def test_forgetting_stops_after_half_a_minute_and_goes_on_in_another_task(
    store: Store, now: datetime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Well before the broker delivers its message again, which is after two minutes."""
    old = {"component": "coredns", "happened_at": now - settings.keep_outcomes - SECOND}
    with store.writing() as session:
        session.add_all(Change(id=f"c{number}", **old) for number in range(2 * DELETED_AT_ONCE + 1))
    moments = count()
    monkeypatch.setattr(housekeeping, "TimeLimit", lambda limit: TimeLimit(limit, lambda: 31.0 * next(moments)))
    left = []
    while Task.FORGET in due_housekeeping(store, now):
        housekeeping.forget()
        with store.reading() as session:
            left.append(len(session.exec(select(Change.id)).all()))
    assert left == [DELETED_AT_ONCE + 1, 1, 0, 0]
    assert due_housekeeping(store, now + timedelta(hours=1) - SECOND).count(Task.FORGET) == 0
    assert Task.FORGET in due_housekeeping(store, now + timedelta(hours=1))


def test_a_task_that_is_not_due_does_nothing(store: Store, now: datetime, settings: Settings) -> None:
    housekeeping.forget()
    with store.writing() as session:
        session.add(Change(id="old", component="coredns", happened_at=now - settings.keep_outcomes - SECOND))
    housekeeping.forget()
    with store.reading() as session:
        assert session.exec(select(Change.id)).all() == ["old"]


def test_old_changes_leftovers_alerts_and_dead_collectors_are_deleted(
    store: Store, now: datetime, settings: Settings
) -> None:
    before, after = now - settings.keep_outcomes - SECOND, now - settings.keep_outcomes + SECOND
    with store.writing() as session:
        for name, at in (("old", before), ("new", after)):
            session.add(Change(id=name, component="coredns", happened_at=at))
            where = {"cluster": "c", "run_id": "r", "resource": "pods", "namespace": "n", "name": name, "stuck": ""}
            session.add(Leftover(uid=name, found_at=at, **where))
            of = {"cluster": "c", "case": name, "kind": "fail", "reason": "Lost", "first_run_id": "", "last_run_id": ""}
            session.add(Alert(id=name, opened_at=at, closed_at=at, **of))
        session.add(Collector(name="dead", pool="default", leased_until=now - 200 * settings.lease))
        session.add(Collector(name="new", pool="default", leased_until=now))
    housekeeping.forget()
    with store.reading() as session:
        for column in (Change.id, Leftover.name, Alert.id, Collector.name):
            assert session.exec(select(column)).all() == ["new"]


def test_what_cannot_be_deleted_of_one_table_stops_no_other(
    store: Store, now: datetime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each table in turn."""

    def fail(*_: object) -> int:
        raise ValueError("a row that cannot be read")

    before = now - settings.keep_outcomes - SECOND
    deletions = (
        (housekeeping.leases, "delete_dead_collectors"),
        (housekeeping.runs, "delete_old_runs"),
        (housekeeping.response, "delete_old_alerts"),
        (housekeeping, "delete_locations_of_removed_clusters"),
    )
    for number, (owner, name) in enumerate(deletions):
        with store.writing() as session:
            session.add(Change(id=name, component="coredns", happened_at=before))
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            later = replace(app.context.installation, clock=lambda hours=number: now + timedelta(hours=hours))
            patch.setattr(app, "context", replace(app.context, installation=later))
            housekeeping.forget()
        with store.reading() as session:
            assert session.exec(select(Change.id)).all() == []


def test_open_alerts_are_withdrawn_after_an_error_of_another_step(
    store: Store, now: datetime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its case nothing is known."""

    def fail(*_: object) -> None:
        raise ValueError("an alert that cannot be read")

    of = {"cluster": "c", "case": "dns", "kind": "fail", "reason": "Lost", "first_run_id": "", "last_run_id": ""}
    for number, name in enumerate(("repeat_alerts", "notify_deferred")):
        with store.writing() as session:
            session.add(Alert(id=name, opened_at=now, **of))
        with monkeypatch.context() as patch:
            patch.setattr(housekeeping.response, name, fail)
            later = replace(app.context.installation, clock=lambda hours=number: now + timedelta(hours=hours))
            patch.setattr(app, "context", replace(app.context, installation=later))
            housekeeping.repeat_alerts()
        with store.reading() as session:
            assert session.get_one(Alert, name).closed_at is not None
