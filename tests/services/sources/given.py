"""Sources in a store, with a real repository."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import select

from kubeprobe.sources import AddResult, Grant, SourceSpec, SyncContext, SyncResult, add_source, parse_address, sync_due
from kubeprobe.store import ProbeCase, Run, Source
from tests.harness.repository import Repository

TEMPLATE = """\
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: probes}
spec: {image: "docker.io/kubeprobe/probes:dev"}
"""
CASE = """\
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: dns}
spec: {template: probes, kind: blackbox, owner: network}
"""
BINDING = """\
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: core}
spec:
  cases: [dns]
  clusters: {selector: {}}
  on: {periodic: {every: 5m}}
"""
CLUSTER = """\
apiVersion: kubeprobe.io/v1
kind: Cluster
metadata: {name: prod-1}
spec: {labels: {region: eu}, connection: local}
"""
OTHER_CASE = CASE.replace("{name: dns}", "{name: other}")
BROKEN = CASE.replace("kind: blackbox", "kind: blackbx")


class World:
    """A store with sources, a repository, and a clock that only the test moves."""

    def __init__(self, context: SyncContext, repository: Repository, now: datetime) -> None:
        self.now = now
        self.context = replace(context, clock=lambda: self.now)
        self.repository = repository

    def add(self, name: str = "team", **options: Any) -> AddResult:
        """Add a source, by default of the repository's folder `catalog`, which may declare clusters."""
        flags = {key: options.pop(key) for key in ("replace", "dry_run") if key in options}
        address = parse_address(options.pop("url", str(self.repository.bare)))
        given = {"path": "catalog", "allow": (Grant.CLUSTERS, Grant.LOCAL), **options}
        return add_source(self.context, SourceSpec(name, address, **given), **flags)

    def poll(self, after: timedelta = timedelta(minutes=1)) -> Sequence[SyncResult]:
        """Move the clock, and sync what is due."""
        self.now += after
        return sync_due(self.context)

    def source(self, name: str = "team") -> Source:
        """The stored source."""
        with self.context.store.reading() as session:
            found = session.get(Source, name)
            assert found is not None
            return found

    def case(self, name: str = "dns") -> ProbeCase:
        """The stored case."""
        with self.context.store.reading() as session:
            found = session.get(ProbeCase, name)
            assert found is not None
            return found

    def cases(self) -> set[str]:
        """The names of all cases."""
        with self.context.store.reading() as session:
            return set(session.exec(select(ProbeCase.name)))

    def runs(self) -> Sequence[Run]:
        """All runs, the oldest first."""
        with self.context.store.reading() as session:
            return session.exec(select(Run).order_by(Run.id)).all()
