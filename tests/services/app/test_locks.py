"""Use cases lock sources, the catalog, its entries, clusters, schedules and nodes in one order: no two deadlock."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from kubeprobe import app
from kubeprobe.app import Installation
from kubeprobe.catalog.version import lock_catalog
from kubeprobe.fleet.clusters import ClusterRegistration
from kubeprobe.fleet.credentials import in_cluster
from kubeprobe.settings import Settings
from kubeprobe.store import Binding, Cluster, Node, ProbeCase, ProbeTemplate, Schedule, Source, Store
from tests.harness.wait import until
from tests.services.app.test_transactions import RecordedQueue
from tests.services.views.given import World
from tests.unit.catalog.given import BINDING, CASE, TEMPLATE, catalog

WITH_NODES = BINDING.replace("  on:", "  nodes: {}\n  on:").replace("{matchLabels: {region: eu}}", "{}")
DECLARED = """
apiVersion: kubeprobe.io/v1
kind: Cluster
metadata: {name: prod-1}
spec: {labels: {region: us}, connection: local}
"""
ADDED = ClusterRegistration("prod-1", {"region": "us"})
USE_CASES = {
    "add": lambda found, _: app.add_cluster(found, ADDED, in_cluster(), replace=True),
    "relabel": lambda found, _: app.relabel_cluster(found, "prod-1", {"region": "us"}),
    "remove": lambda found, _: app.remove_cluster(found, "prod-1"),
    "cordon": lambda found, _: app.cordon_cluster(found, "prod-1"),
    "apply": lambda found, folder: app.apply_catalog(found, app.CatalogFiles((folder,), override=True)),
    "pause": lambda found, _: app.pause_binding(found, "core"),
    "resume": lambda found, _: app.resume_binding(found, "core"),
    "remove source": lambda found, _: app.remove_source(found, "git"),
    "prune source": lambda found, _: app.remove_source(found, "git", prune=True),
}


@pytest.fixture
def installation(store: Store, now: object, tmp_path: Path) -> Installation:
    """A catalog that belongs to a source, clusters that it does not declare, and a node of one."""
    World(store, now).cluster("prod-1", region="eu")  # type: ignore[arg-type]
    World(store, now).cluster("alpha", region="us")  # type: ignore[arg-type]
    found = Installation(Settings(data_dir=tmp_path), store, RecordedQueue(store))
    app.apply_catalog(found, app.CatalogFiles((catalog(tmp_path / "catalog", TEMPLATE, CASE, BINDING),)))
    app.pause_binding(found, "core")
    with store.writing() as session:
        session.add(
            Source(name="git", url="/nowhere", branch="main", path="", every_s=60, next_sync=now, created_at=now)
        )
        session.flush()
        for table, name in ((ProbeTemplate, "probes"), (ProbeCase, "pod-lifecycle"), (Binding, "core")):
            session.get_one(table, name).source = "git"
        session.add(Node(cluster="prod-1", name="n", uid="u", created_at=now, seen_at=now))
    return found


def lock_all_in_order(session: Session, *, from_catalog: bool, blocked: object) -> None:
    """Every lock, in the order of the documentation; after the first, the use case has to wait without any of them."""
    entries = [
        lambda: lock_catalog(session),
        *(
            lambda table=table: session.exec(select(table).order_by(col(table.name)).with_for_update()).all()
            for table in (Binding, ProbeCase)
        ),
    ]
    first, *others = [
        *(entries if from_catalog else []),
        *(  # one after the other, as a rotation of keys
            lambda name=name: session.exec(select(Cluster).where(Cluster.name == name).with_for_update()).all()
            for name in ("alpha", "prod-1")
        ),
        lambda: session.exec(select(Schedule).with_for_update()).all(),
        lambda: session.exec(select(Node).with_for_update()).all(),
    ]
    first()
    blocked()  # type: ignore[operator]
    for lock in others:
        lock()


@pytest.mark.parametrize("first", ["catalog", "clusters"])
@pytest.mark.parametrize("name", USE_CASES)
def test_a_use_case_that_waits_for_a_lock_holds_none_that_comes_after_it(
    installation: Installation, store: Store, tmp_path: Path, name: str, first: str
) -> None:
    folder = catalog(tmp_path / "catalog", TEMPLATE, CASE, WITH_NODES, DECLARED)
    with ThreadPoolExecutor(1) as pool:
        with store.writing() as session:

            def start() -> None:
                working = pool.submit(USE_CASES[name], installation, folder)
                until("the use case waits or has ended", lambda: working.done() or waits(store))
                running.append(working)

            running: list = []
            lock_all_in_order(session, from_catalog=first == "catalog", blocked=start)
        running[0].result(timeout=30)


def waits(store: Store) -> bool:
    """Whether a connection waits for a lock; SQLite has one lock, which the test holds."""
    if store.engine.dialect.name == "sqlite":
        return True
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.reading() as session:
        return bool(session.execute(text(query)).scalar())
