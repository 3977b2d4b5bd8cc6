"""Adding, changing and removing sources."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, select

from kubeprobe.catalog import ApplyResult, Author, Connector, Declaration, Plan, apply, make_plan, prepare_connections
from kubeprobe.catalog.changes import TABLES
from kubeprobe.catalog.version import increment_version, lock_catalog, lock_clusters
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.names import nearest
from kubeprobe.sources.mirror import Mirror
from kubeprobe.sources.revision import SyncContext, open_revision
from kubeprobe.sources.spec import SPEC_COLUMNS, DesiredSource, SourceSpec, desired_source
from kubeprobe.sources.sync import apply_revision
from kubeprobe.store import Cluster, Source, insert_ignoring_conflicts


@dataclass(frozen=True)
class AddResult:
    """What adding a source did, or, if `applied` is None, would do."""

    source: Source
    commit: str
    plan: Plan
    applied: ApplyResult | None
    known_hosts: str
    """The ssh host key that was trusted on first use; empty if none was."""
    changes: tuple[str, ...] | None = None
    """Descriptions of what replacing changed in the source itself; None if it is new."""


def add_source(context: SyncContext, spec: SourceSpec, *, replace: bool = False, dry_run: bool = False) -> AddResult:
    """Fetch a new source, apply what it declares, and store it: all or nothing.

    With `replace`, an existing one is changed; with `dry_run`, nothing is stored. Raises InvalidInputError, GitError
    and CatalogError, nothing changed.
    """
    with context.store.reading() as session:
        before = session.get(Source, spec.name)
    if before is not None and not replace:  # before the fetch; `_store` checks it again
        raise _exists(spec.name)
    desired, is_stored = desired_source(spec, before, context.cipher, context.clock()), before is not None
    try:
        added = _add(context, desired, before, replace=replace, dry_run=dry_run)
        is_stored = is_stored or added.applied is not None
    finally:
        if not is_stored:
            Mirror(context.folder, spec.name).delete_if_unlocked()
    return added


def _add(
    context: SyncContext, desired: DesiredSource, before: Source | None, *, replace: bool, dry_run: bool
) -> AddResult:
    row = desired.row
    with open_revision(context, row) as found:
        declaration = found.declaration()
        connector = prepare_connections(declaration, context.connector)
        with context.store.reading() as session:
            now, author = context.clock(), found.author
            planned = make_plan(
                session, declaration, connector, now, prune=row.prune, author=author, policy=context.policy
            )
        applied = None
        if not dry_run:
            with context.store.writing() as session:
                row = _store(session, row, before, replace=replace)
                applied = apply_revision(session, row, found, declaration, connector)
        new_hosts = "" if desired.secret.known_hosts else found.fetched.known_hosts
        changes = None if before is None else desired.changes
        return AddResult(row, found.fetched.commit, planned, applied, new_hosts, changes)


def get_source(session: Session, name: str, *, for_update: bool = False) -> Source:
    """A source; with `for_update`, its row is locked. Raises NotFoundError with the nearest name."""
    row = session.get(Source, name, with_for_update=for_update or None)
    if row is None:
        raise NotFoundError(f"there is no source {name!r}.{nearest(name, session.exec(select(Source.name)))}")
    return row


def set_paused(session: Session, name: str, paused_at: datetime | None, now: datetime) -> None:
    """Pause the syncs of a source; or, if `paused_at` is None, resume them with a sync at once."""
    row = get_source(session, name)
    row.paused_at = paused_at
    row.next_sync = now
    session.add(row)


def request_sync(session: Session, name: str, now: datetime) -> bool:
    """Make a source due now; False if there is no such source, or it is paused."""
    due = update(Source).where(col(Source.name) == name, col(Source.paused_at).is_(None)).values(next_sync=now)
    return bool(session.scalars(due.returning(col(Source.name))).all())


def remove_source(
    session: Session, context: SyncContext, name: str, connector: Connector, *, prune: bool
) -> ApplyResult | None:
    """Remove a source. Its entries stay and then belong to no source; with `prune`, they are removed too.

    Raises CatalogError, nothing changed, if a remaining entry refers to a removed one.
    """
    # The row is locked before the catalog, as in `sync`. Otherwise the two could deadlock, or a concurrent sync could
    # leave entries of a source that no longer exists.
    row, applied = get_source(session, name, for_update=True), None
    if prune:
        nothing = Declaration({})
        applied = apply(session, nothing, connector, context.clock(), prune=True, author=Author(name))
    else:
        lock_catalog(session)
        for table in TABLES.values():
            owned = update(table).where(col(table.source) == name)
            session.execute(owned.values(source=None, commit_id=None))
        owned_clusters = select(Cluster.name).where(col(Cluster.source) == name)
        lock_clusters(session, session.exec(owned_clusters).all())
        session.execute(update(Cluster).where(col(Cluster.source) == name).values(source=None))
        increment_version(session)
    session.delete(row)
    Mirror(context.folder, name).delete_if_unlocked()  # if a sync holds it, `sync_due` deletes it later
    return applied


def _store(session: Session, row: Source, before: Source | None, *, replace: bool) -> Source:
    """Insert the row, or update the existing one; a concurrent sync of that loses its claim.

    Raises InvalidInputError if one exists and is not to be replaced, or has changed since `before` was read.
    """
    insert = insert_ignoring_conflicts(session, Source, [row.model_dump()]).returning(col(Source.name))
    is_new = bool(session.execute(insert).all())
    stored = get_source(session, row.name, for_update=True)
    if is_new:
        return stored
    if not replace:
        raise _exists(row.name)
    if before is None or any(
        getattr(stored, column) != getattr(before, column) for column in (*SPEC_COLUMNS, "secret")
    ):
        raise InvalidInputError(
            f"source {row.name!r} was changed concurrently; see `kubeprobe source show {row.name}` and try again"
        )
    stored.sqlmodel_update(row.model_dump(include={*SPEC_COLUMNS, "secret", "next_sync"}))
    stored.claim, stored.claimed_until = stored.claim + 1, None
    return stored


def _exists(name: str) -> InvalidInputError:
    return InvalidInputError(f"source {name!r} already exists; use --replace to change it")
