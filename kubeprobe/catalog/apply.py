"""Writing a declaration to the store, in the caller's transaction: all of it or nothing.

Next: `trigger` opens runs from the schedule rows.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import computed_field
from sqlalchemy import insert, update
from sqlmodel import Session, col, delete

from kubeprobe.catalog.changes import TABLES, Action, ItemChange, digest_of
from kubeprobe.catalog.comparison import CHANGES, ApplyRequest, Comparison, compare_with_store
from kubeprobe.catalog.connections import Connector, read_clusters, write_cluster
from kubeprobe.catalog.model import ClusterSpec
from kubeprobe.catalog.ownership import BY_HAND, Author
from kubeprobe.catalog.parse import Declaration
from kubeprobe.catalog.pause import resume_rows
from kubeprobe.catalog.policy import DEFAULT_POLICY, TemplatePolicy
from kubeprobe.catalog.schedules import ScheduleChanges, prepare_schedules, sync_schedules
from kubeprobe.catalog.version import increment_version, lock_catalog
from kubeprobe.fleet import clusters
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Binding
from kubeprobe.store.chunks import chunked


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
        return any(item.action in CHANGES for item in self.items)


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
    nothing written, if a reference would break, a kubeconfig is unusable, an entry belongs to another owner, the
    policy does not allow a template, or there would be too many schedules.
    """
    version = lock_catalog(session)
    found = compare_with_store(session, ApplyRequest(declaration, connector, author, policy, prune))
    _write_specs(session, found, now)
    _remove_specs(session, found)
    is_new_commit = _update_origins(session, found)
    # Only now is it known which clusters need a watch of their nodes: all that are written are locked at once.
    catalog = prepare_schedules(session, _labels_after(found))
    _write_clusters(session, found, now)
    clusters.remove_locked(session, [item.name for item in found.with_action(Action.REMOVED) if item.kind == "Cluster"])
    _resume_unpaused(session, found, now)
    if is_new_commit or found.changes_anything:
        version = increment_version(session)
    return ApplyResult(found.items, version, sync_schedules(session, now, catalog))


def _labels_after(found: Comparison) -> dict[str, Mapping[str, str] | None]:
    """The labels of the clusters that are written; None: removed."""
    labels: dict[str, Mapping[str, str] | None] = {
        item.name: None for item in found.with_action(Action.REMOVED) if item.kind == "Cluster"
    }
    labels.update((entry.name, entry.spec.labels) for entry in found.written if isinstance(entry.spec, ClusterSpec))
    return labels


def _write_specs(session: Session, found: Comparison, now: datetime) -> None:
    """Insert or update the rows of all kinds but Cluster: two statements for each kind."""
    author = found.request.author
    added, changed = defaultdict[str, list[dict[str, Any]]](list), defaultdict[str, list[dict[str, Any]]](list)
    for entry in found.written:
        if entry.kind not in TABLES:
            continue
        spec, stored = entry.spec.as_json(), found.stored.get((entry.kind, entry.name))
        row = {
            "name": entry.name,
            "spec": spec,
            "digest": digest_of(spec),
            "origin": entry.origin,
            "source": author.owner_of(stored.source if stored else None),
            "commit_id": author.commit_id,
            "applied_at": now,
        }
        (changed if stored else added)[entry.kind].append(row)
    for kind, rows in added.items():
        session.execute(insert(TABLES[kind]), rows)
    for kind, rows in changed.items():
        session.execute(update(TABLES[kind]), rows)


def _write_clusters(session: Session, found: Comparison, now: datetime) -> None:
    declared = [entry for entry in found.written if entry.kind == "Cluster"]
    stored = {row.name: row for row in read_clusters(session, (entry.name for entry in declared))}
    for entry in declared:
        renewed = found.renewed.get(entry.name)
        row = write_cluster(session, entry, stored.get(entry.name), renewed, found.request.connector, now)
        row.source = found.request.author.owner_of(row.source)
    session.flush()


def _remove_specs(session: Session, found: Comparison) -> None:
    removed = defaultdict[str, list[str]](list)
    for item in found.with_action(Action.REMOVED):
        removed[item.kind].append(item.name)
    for kind in removed.keys() & TABLES.keys():
        table = TABLES[kind]
        for names in chunked(removed[kind]):
            session.execute(delete(table).where(col(table.name).in_(names)))


def _update_origins(session: Session, found: Comparison) -> bool:
    """Update file and line of unchanged documents that moved; this is not a change of the catalog.

    Returns True if a source's entries come from a new commit: runs record it, so cached catalogs are outdated.
    """
    author, moved = found.request.author, defaultdict[str, list[dict[str, Any]]](list)
    for item in found.with_action(Action.UNCHANGED):
        if item.kind not in TABLES:
            continue
        stored = found.stored[item.kind, item.name]
        if stored.source == author.source and stored.origin != item.origin:  # a source's origin contains the commit
            moved[item.kind].append({"name": item.name, "origin": item.origin, "commit_id": author.commit_id})
    for kind, rows in moved.items():
        session.execute(update(TABLES[kind]), rows)
    return bool(moved) and author.source is not None


def _resume_unpaused(session: Session, found: Comparison, now: datetime) -> None:
    """Resume the schedules of bindings whose `paused: true` was removed, unless they are paused by hand."""
    for item in found.with_action(Action.CHANGED):
        if item.kind != "Binding" or not found.stored[item.kind, item.name].spec.get("paused"):
            continue
        row = session.get(Binding, item.name)
        if row is not None and not row.spec.get("paused") and row.paused_at is None:
            resume_rows(session, item.name, None, now)
