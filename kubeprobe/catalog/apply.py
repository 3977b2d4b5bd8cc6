"""Writing a declaration to the store, in the caller's transaction: all of it or nothing.

Next: `trigger` opens runs from the schedule rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import computed_field
from sqlmodel import Session, col, delete

from kubeprobe.catalog.changes import TABLES, Action, ItemChange, StoredItem, compare, digest_of, stored_items
from kubeprobe.catalog.connections import Connector, connect_all, mark_renewed, renewed_clusters, write_cluster
from kubeprobe.catalog.model import DOCUMENTS
from kubeprobe.catalog.ownership import BY_HAND, Author, broken_references, ownership_conflicts, policy_problems
from kubeprobe.catalog.parse import Declaration, Entry
from kubeprobe.catalog.pause import resume_rows
from kubeprobe.catalog.policy import DEFAULT_POLICY, TemplatePolicy
from kubeprobe.catalog.problems import CatalogError
from kubeprobe.catalog.references import check_references
from kubeprobe.catalog.schedules import ScheduleChanges, sync_schedules
from kubeprobe.catalog.version import increment_version, lock_catalog, lock_clusters
from kubeprobe.fleet import clusters
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Binding

_WRITTEN = (Action.ADDED, Action.CHANGED)


@dataclass(frozen=True)
class ApplyResult(JsonModel):
    """What an apply changed."""

    items: tuple[ItemChange, ...]
    version: int
    schedules: ScheduleChanges

    @computed_field(alias="changed")  # type: ignore[prop-decorator]
    @property
    def changed_anything(self) -> bool:
        """Whether an entry was added, changed or removed."""
        return any(item.action in {*_WRITTEN, Action.REMOVED} for item in self.items)


def known_names(session: Session, *, prune: bool = False, source: str | None = None) -> dict[str, frozenset[str]]:
    """The names in the store that a declaration of `source` may refer to, by kind; for `parse`.

    With `prune`, entries of the same owner are left out: those that are no longer declared will be removed.
    """
    names: dict[str, set[str]] = {kind: set() for kind in DOCUMENTS}
    for (kind, name), item in stored_items(session).items():
        if item.by_hand or not prune or item.source != source:
            names[kind].add(name)
    return {kind: frozenset(found) for kind, found in names.items()}


def apply(  # noqa: PLR0913 - what is applied, by whom, within which limits
    session: Session,
    declaration: Declaration,
    connector: Connector,
    now: datetime,
    *,
    prune: bool = False,
    author: Author = BY_HAND,
    policy: TemplatePolicy = DEFAULT_POLICY,
) -> ApplyResult:
    """Write the author's declaration; with `prune`, remove entries of this author that it no longer declares.

    Concurrent applies wait for one another. One that changes nothing leaves the version as it is. Raises CatalogError,
    nothing written, if a reference would break, a kubeconfig is unusable, an entry belongs to another source, or the
    policy does not allow a template.
    """
    connections = connect_all(declaration, connector)  # reads files, so not while the lock is held
    version = lock_catalog(session)
    known = known_names(session, prune=prune, source=author.source)
    names = {kind: declaration.names(kind) | known[kind] for kind in DOCUMENTS}
    problems = check_references(declaration.references, names)
    if problems:
        raise CatalogError(problems)
    stored = stored_items(session)
    renewed = renewed_clusters(session, connections, connector.cipher)
    items = mark_renewed(compare(stored, declaration, author.source, prune=prune), renewed)
    problems = ownership_conflicts(items, stored, declaration, author) + broken_references(items, stored, declaration)
    problems += policy_problems(stored, declaration, author, policy)
    if problems:
        raise CatalogError(problems)
    changed = (*_WRITTEN, Action.REMOVED)
    lock_clusters(session, (item.name for item in items if item.kind == "Cluster" and item.action in changed))
    written = [declaration.entries[item.kind, item.name] for item in items if item.action in _WRITTEN]
    _write_specs(session, written, author, now)
    for entry in written:
        if entry.kind == "Cluster":
            renewal = connections[entry.name] if entry.name in renewed else None
            row = write_cluster(session, entry, renewal, connector, now)
            row.source = author.owner_of(row.source)
    _remove(session, items)
    is_new_commit = _update_origins(session, items, stored, author)
    _resume_unpaused(session, items, stored, now)
    if is_new_commit or any(item.action in changed for item in items):
        version = increment_version(session)
    return ApplyResult(tuple(items), version, sync_schedules(session, now))


def _write_specs(session: Session, entries: Sequence[Entry], author: Author, now: datetime) -> None:
    """Insert or update the rows of all kinds but Cluster."""
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


def _update_origins(
    session: Session, items: Sequence[ItemChange], stored: Mapping[tuple[str, str], StoredItem], author: Author
) -> bool:
    """Update file and line of unchanged documents that moved; this is not a change of the catalog.

    Returns True if a source's entries come from a new commit: runs record it, so cached catalogs are outdated.
    """
    is_new_commit = False
    for item in items:
        if item.action is not Action.UNCHANGED or item.kind not in TABLES:
            continue
        found = stored[item.kind, item.name]
        if found.source == author.source and found.origin != item.origin:  # a source's origin contains the commit
            row = session.get(TABLES[item.kind], item.name)
            assert row is not None
            row.origin, row.commit_id = item.origin, author.commit_id
            session.add(row)
            is_new_commit = is_new_commit or author.source is not None
    return is_new_commit


def _resume_unpaused(
    session: Session, items: Sequence[ItemChange], stored: Mapping[tuple[str, str], StoredItem], now: datetime
) -> None:
    """Resume the schedules of bindings whose `paused: true` was removed, unless they are paused by hand."""
    for item in items:
        if item.kind != "Binding" or item.action is not Action.CHANGED:
            continue
        row = session.get(Binding, item.name)
        was_paused = stored[item.kind, item.name].spec.get("paused")
        if was_paused and row is not None and not row.spec.get("paused") and row.paused_at is None:
            resume_rows(session, item.name, None, now)
