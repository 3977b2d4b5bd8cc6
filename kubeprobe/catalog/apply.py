"""Writing a declaration into the store, in the caller's transaction: all of it or nothing.

Next: `trigger` opens runs by the schedule rows that this leaves behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, delete

from kubeprobe.catalog.changes import TABLES, Action, ItemChange, Stored, compare, digest_of, stored_items
from kubeprobe.catalog.connecting import Connector, connect_all, mark_renewed, renewed_clusters, write_cluster
from kubeprobe.catalog.model import DOCUMENTS
from kubeprobe.catalog.parse import Declaration, Entry
from kubeprobe.catalog.pausing import resume_rows
from kubeprobe.catalog.problems import CatalogError
from kubeprobe.catalog.references import check_references
from kubeprobe.catalog.schedules import ScheduleChanges, sync_schedules
from kubeprobe.catalog.version import grow_version, lock_catalog
from kubeprobe.fleet import clusters
from kubeprobe.store import Binding

_WRITTEN = (Action.ADDED, Action.CHANGED)


@dataclass(frozen=True)
class Applied:
    """What an apply did."""

    items: tuple[ItemChange, ...]
    version: int
    schedules: ScheduleChanges

    @property
    def changed_anything(self) -> bool:
        """Whether the catalog is another one than before."""
        return any(item.action in {*_WRITTEN, Action.REMOVED} for item in self.items)


def known_names(session: Session, *, prune: bool = False) -> dict[str, frozenset[str]]:
    """The names that a declaration may refer to beyond its own, for `parse`.

    With `prune`, what the catalog declared earlier is about to go and cannot be referred to.
    """
    names: dict[str, set[str]] = {kind: set() for kind in DOCUMENTS}
    for (kind, name), item in stored_items(session).items():
        if item.by_hand or not prune:
            names[kind].add(name)
    return {kind: frozenset(found) for kind, found in names.items()}


def apply(
    session: Session, declaration: Declaration, connector: Connector, now: datetime, *, prune: bool = False
) -> Applied:
    """Make the store's catalog equal the declaration; with `prune`, remove what is not declared.

    Concurrent applies wait for one another. One that changes nothing leaves the version as it is. Raises
    CatalogError, nothing written, when a reference would break or a kubeconfig is not usable.
    """
    connections = connect_all(declaration, connector)  # reads files: before the lock is taken
    version = lock_catalog(session)
    known = known_names(session, prune=prune)
    names = {kind: declaration.names(kind) | known[kind] for kind in DOCUMENTS}
    problems = check_references(declaration.references, names)
    if problems:
        raise CatalogError(problems)
    stored = stored_items(session)
    renewed = renewed_clusters(session, connections, connector.cipher)
    items = mark_renewed(compare(stored, declaration, prune=prune), renewed)
    written = [declaration.entries[item.kind, item.name] for item in items if item.action in _WRITTEN]
    _write_specs(session, written, now)
    for entry in written:
        if entry.kind == "Cluster":
            write_cluster(session, entry, connections[entry.name] if entry.name in renewed else None, connector, now)
    _remove(session, items)
    _note_origins(session, items, stored)
    _resume_unpaused(session, items, stored, now)
    if any(item.action in {*_WRITTEN, Action.REMOVED} for item in items):
        version = grow_version(session)
    return Applied(tuple(items), version, sync_schedules(session, now))


def _write_specs(session: Session, entries: Sequence[Entry], now: datetime) -> None:
    """Insert or update what is kept as it was declared."""
    for entry in entries:
        if entry.kind not in TABLES:
            continue
        table = TABLES[entry.kind]
        spec = entry.spec.as_json()
        values: dict[str, Any] = {
            "spec": spec,
            "digest": digest_of(spec),
            "origin": entry.origin,
            "applied_at": now,
        }
        row = session.get(table, entry.name)
        session.add(table(name=entry.name, **values) if row is None else row.sqlmodel_update(values))
    session.flush()


def _remove(session: Session, items: Sequence[ItemChange]) -> None:
    for item in items:
        if item.action is not Action.REMOVED:
            continue
        if item.kind == "Cluster":
            clusters.remove(session, item.name)
        else:
            table = TABLES[item.kind]
            session.execute(delete(table).where(col(table.name) == item.name))


def _note_origins(session: Session, items: Sequence[ItemChange], stored: Mapping[tuple[str, str], Stored]) -> None:
    """An unchanged document that moved to another line: its place is noted, which is no change of the catalog."""
    for item in items:
        if item.action is not Action.UNCHANGED or item.kind not in TABLES:
            continue
        if stored[item.kind, item.name].origin != item.origin:
            row = session.get(TABLES[item.kind], item.name)
            assert row is not None
            row.origin = item.origin
            session.add(row)


def _resume_unpaused(
    session: Session, items: Sequence[ItemChange], stored: Mapping[tuple[str, str], Stored], now: datetime
) -> None:
    """Where `paused: true` was taken out of a binding, its schedules go on, unless somebody paused it by hand."""
    for item in items:
        if item.kind != "Binding" or item.action is not Action.CHANGED:
            continue
        row = session.get(Binding, item.name)
        was_paused = stored[item.kind, item.name].spec.get("paused")
        if was_paused and row is not None and not row.spec.get("paused") and row.paused_at is None:
            resume_rows(session, item.name, None, now)
