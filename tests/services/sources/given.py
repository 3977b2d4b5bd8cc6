"""Sources of a store, over a real repository."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import select

from kubeprobe.sources import Added, SourceSpec, SyncContext, Synced, add_source, parse_address, sync_due
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
    """A store with sources, a repository, and a clock that moves when told."""

    def __init__(self, context: SyncContext, repository: Repository, now: datetime) -> None:
        self.now = now
        self.context = replace(context, clock=lambda: self.now)
        self.repository = repository

    def add(self, name: str = "team", **said: Any) -> Added:
        """Add a source, of the repository's folder `catalog` if nothing else is said."""
        options = {key: said.pop(key) for key in ("replace", "dry_run") if key in said}
        address = parse_address(said.pop("url", str(self.repository.bare)))
        return add_source(self.context, SourceSpec(name, address, **{"path": "catalog", **said}), **options)

    def poll(self, after: timedelta = timedelta(minutes=1)) -> Sequence[Synced]:
        """Time passes, and a worker looks at what is due."""
        self.now += after
        return sync_due(self.context)

    def source(self, name: str = "team") -> Source:
        """A source as it stands."""
        with self.context.store.reading() as session:
            found = session.get(Source, name)
            assert found is not None
            return found

    def case(self, name: str = "dns") -> ProbeCase:
        """A case as the catalog has it."""
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
