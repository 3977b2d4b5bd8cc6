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
from kubeprobe.catalog.ownership import BY_HAND, Author, conflicts, orphans
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


def known_names(session: Session, *, prune: bool = False, source: str | None = None) -> dict[str, frozenset[str]]:
    """The names that a declaration of `source` may refer to beyond its own, for `parse`.

    With `prune`, what the same owner declared earlier is about to go and cannot be referred to.
    """
    names: dict[str, set[str]] = {kind: set() for kind in DOCUMENTS}
    for (kind, name), item in stored_items(session).items():
        if item.by_hand or not prune or item.source != source:
            names[kind].add(name)
    return {kind: frozenset(found) for kind, found in names.items()}


def apply(
    session: Session,
    declaration: Declaration,
    connector: Connector,
    now: datetime,
    *,
    prune: bool = False,
    author: Author = BY_HAND,
) -> Applied:
    """Make the catalog equal the author's declaration; with `prune`, remove what else the author declared earlier.

    Concurrent applies wait for one another. One that changes nothing leaves the version as it is. Raises
    CatalogError, nothing written, when a reference would break, a kubeconfig is not usable, or an entry is another's.
    """
    connections = connect_all(declaration, connector)  # reads files: before the lock is taken
    version = lock_catalog(session)
    known = known_names(session, prune=prune, source=author.source)
    names = {kind: declaration.names(kind) | known[kind] for kind in DOCUMENTS}
    problems = check_references(declaration.references, names)
    if problems:
        raise CatalogError(problems)
    stored = stored_items(session)
    renewed = renewed_clusters(session, connections, connector.cipher)
    items = mark_renewed(compare(stored, declaration, author.source, prune=prune), renewed)
    problems = [*conflicts(items, stored, declaration, author), *orphans(items, stored, declaration)]
    if problems:
        raise CatalogError(problems)
    written = [declaration.entries[item.kind, item.name] for item in items if item.action in _WRITTEN]
    _write_specs(session, written, author, now)
    for entry in written:
        if entry.kind == "Cluster":
            renewal = connections[entry.name] if entry.name in renewed else None
            row = write_cluster(session, entry, renewal, connector, now)
            row.source = author.owner_of(row.source)
    _remove(session, items)
    moved_on = _note_origins(session, items, stored, author)
    _resume_unpaused(session, items, stored, now)
    if moved_on or any(item.action in {*_WRITTEN, Action.REMOVED} for item in items):
        version = grow_version(session)
    return Applied(tuple(items), version, sync_schedules(session, now))


def _write_specs(session: Session, entries: Sequence[Entry], author: Author, now: datetime) -> None:
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
            "commit_id": author.commit_id,
            "applied_at": now,
        }
        row = session.get(table, entry.name)
        values["source"] = author.owner_of(row.source if row else None)
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


def _note_origins(
    session: Session, items: Sequence[ItemChange], stored: Mapping[tuple[str, str], Stored], author: Author
) -> bool:
    """An unchanged document that moved to another line: its place is noted, which is no change of the catalog.

    True where a source's entries are at another commit now: runs are to tell of it, so copies of the catalog are old.
    """
    moved_on = False
    for item in items:
        if item.action is not Action.UNCHANGED or item.kind not in TABLES:
            continue
        found = stored[item.kind, item.name]
        if found.source == author.source and found.origin != item.origin:  # a source's origin tells the commit
            row = session.get(TABLES[item.kind], item.name)
            assert row is not None
            row.origin, row.commit_id = item.origin, author.commit_id
            session.add(row)
            moved_on = moved_on or author.source is not None
    return moved_on


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
