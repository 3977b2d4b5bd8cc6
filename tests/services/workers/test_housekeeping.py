"""Housekeeping deletes what is old, whatever table it is in, and keeps the rest."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from kubeprobe.app import Installation
from kubeprobe.execution.launch import Launcher
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Alert, Change, Collector, Leftover, Store
from workers import housekeeping
from workers.app import app
from workers.context import WorkerContext

SECOND = timedelta(seconds=1)


@pytest.fixture
def settings(store: Store, now: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of the installation that the tasks work with; their clock stands at `now`."""
    found = Settings(data_dir=tmp_path)
    installation = Installation(found, store, Queue.connect("redis://127.0.0.1:1/0"))
    app.context = WorkerContext(installation, Launcher.__new__(Launcher))
    monkeypatch.setattr(housekeeping, "utc_now", lambda: now)
    yield found
    del app.context


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
        session.add(Collector(name="dead", pool="default", seen_at=now - 200 * settings.lease))
        session.add(Collector(name="new", pool="default", seen_at=now))
    housekeeping.forget()
    with store.reading() as session:
        for column in (Change.id, Leftover.name, Alert.id, Collector.name):
            assert session.exec(select(column)).all() == ["new"]
