"""A use case that writes is one transaction; its effects are sent after the commit, and only then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from kubeprobe import app
from kubeprobe.app import Installation, catalog
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.queue import Queue, RunBatch
from kubeprobe.settings import Settings
from kubeprobe.store import Change, Cluster, Run, Store
from kubeprobe.trigger import RunRequest
from tests.services.views.given import World


class RecordedQueue(Queue):
    """A queue that records what is sent, and what had been committed by then."""

    def __init__(self, store: Store, *, is_reachable: bool = True) -> None:
        self.store = store
        self.is_reachable = is_reachable
        self.sent: list[tuple[str, ...]] = []

    def wake_launchers(self, batches: list[RunBatch]) -> bool:  # type: ignore[override]
        if not batches:
            return True
        with self.store.reading() as session:  # another transaction: sees only what is committed
            committed = set(session.exec(select(Run.id)))
        self.sent += [batch.run_ids for batch in batches]
        assert all(run_id in committed for batch in batches for run_id in batch.run_ids)
        return self.is_reachable


@pytest.fixture
def world(store: Store, now: object) -> World:
    made = World(store, now)  # type: ignore[arg-type]
    made.cluster("prod-1")
    return made


@pytest.fixture
def installation(store: Store, tmp_path: Path) -> Installation:
    found = Installation(Settings(data_dir=tmp_path), store, RecordedQueue(store))
    (tmp_path / "dns.yaml").write_text(CATALOG)
    app.apply_catalog(found, app.CatalogFiles((tmp_path / "dns.yaml",)))
    return found


CATALOG = """\
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: dns}
spec: {image: docker.io/kubeprobe/probes:dev}
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: dns}
spec: {template: dns, kind: blackbox}
---
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: core}
spec: {cases: [dns], clusters: {selector: {}}, on: {change: {component: coredns}}}
"""


def test_launchers_are_woken_after_the_commit(world: World, installation: Installation) -> None:
    run_ids = app.request_runs(installation, RunRequest("dns", ("prod-1",)))
    assert installation.queue.sent == [run_ids]  # type: ignore[attr-defined]


def test_a_failed_use_case_writes_and_sends_nothing(world: World, installation: Installation) -> None:
    with pytest.raises(NotFoundError):
        app.request_runs(installation, RunRequest("dns", ("prod-1", "prod-2")))
    with pytest.raises(InvalidInputError):
        app.relabel_cluster(installation, "prod-1", {"new": "1"}, removed=["absent"])
    assert installation.queue.sent == []  # type: ignore[attr-defined]
    with installation.store.reading() as session:
        assert session.exec(select(Run.id)).all() == []
        assert session.get_one(Cluster, "prod-1").labels.get("new") is None


def test_a_commit_that_fails_sends_nothing(world: World, installation: Installation) -> None:
    def fail(_: object) -> None:
        raise OSError("the disk is full")

    event.listen(installation.store.engine, "commit", fail)
    try:
        with pytest.raises(OSError, match="disk is full"):
            app.request_runs(installation, RunRequest("dns", ("prod-1",)))
    finally:
        event.remove(installation.store.engine, "commit", fail)
    assert installation.queue.sent == []  # type: ignore[attr-defined]


def test_an_unreachable_broker_is_reported_and_the_runs_stay(
    world: World, installation: Installation, store: Store
) -> None:
    reports: list[str] = []
    offline = replace(
        installation,
        queue=RecordedQueue(store, is_reachable=False),
        on_broker_unreachable=lambda: reports.append("unreachable"),
    )
    run_ids = app.request_runs(offline, RunRequest("dns", ("prod-1",)))
    assert (len(run_ids), reports) == (1, ["unreachable"])


def test_a_repeated_change_returns_the_runs_of_the_first(world: World, installation: Installation) -> None:
    first = app.record_change(installation, "coredns", "1.12", clusters=["prod-1"], change_id="upgrade-7")
    again = app.record_change(installation, "coredns", "1.12", clusters=["prod-1"], change_id="upgrade-7")
    assert first == again
    assert len(first) == 1
    with installation.store.reading() as session:
        assert len(session.exec(select(Change)).all()) == 1


@pytest.mark.parametrize("reason", ["a\0b", "\udcff"])
def test_a_reason_that_cannot_be_stored_is_refused(world: World, installation: Installation, reason: str) -> None:
    with pytest.raises(InvalidInputError, match="reason contains NUL"):
        app.cordon_cluster(installation, "prod-1", reason)


@pytest.mark.parametrize("use_case", [app.plan_catalog, app.apply_catalog])
def test_no_file_is_parsed_within_a_transaction(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_case: Callable[..., object]
) -> None:
    """Parsing takes seconds: meanwhile, a reader's snapshot would keep PostgreSQL from removing old rows."""
    open_transactions = []
    for name in ("reading", "writing"):
        original = getattr(Store, name)

        @contextmanager
        def marked(store: Store, original: Callable[..., Any] = original) -> Iterator[object]:
            with original(store) as session:
                open_transactions.append(session)
                try:
                    yield session
                finally:
                    open_transactions.pop()

        monkeypatch.setattr(Store, name, marked)

    def parse(*arguments: object) -> object:
        assert not open_transactions
        return parse_files(*arguments)

    parse_files = catalog.parse
    monkeypatch.setattr(catalog, "parse", parse)
    use_case(installation, app.CatalogFiles((tmp_path / "dns.yaml",)))
