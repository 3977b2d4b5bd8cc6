"""Adding, changing and removing sources."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, select

from kubeprobe.catalog import Applied, Author, Connector, Declaration, Plan, apply, make_plan
from kubeprobe.catalog.changes import TABLES
from kubeprobe.catalog.version import grow_version
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.names import nearest
from kubeprobe.sources.mirror import Mirror
from kubeprobe.sources.reading import SyncContext, reading
from kubeprobe.sources.spec import SAID, SourceSpec, Wanted, wanted
from kubeprobe.sources.sync import apply_reading
from kubeprobe.store import Cluster, Source, insert_ignoring_conflicts


@dataclass(frozen=True)
class Added:
    """What adding a source did, or (`applied` is None) would do."""

    source: Source
    commit: str
    plan: Plan
    applied: Applied | None
    known_hosts: str
    """The host that was taken on trust; empty where none was."""
    changes: tuple[str, ...] | None = None
    """What replacing changed of the source itself, in words; None where it is new."""


def add_source(context: SyncContext, spec: SourceSpec, *, replace: bool = False, dry_run: bool = False) -> Added:
    """Fetch a new source, apply what it declares, and keep it: all or nothing.

    With `replace`, one that exists is changed as said; with `dry_run`, nothing is kept. Raises InvalidInputError,
    GitError and CatalogError, nothing changed.
    """
    with context.store.reading() as session:
        before = session.get(Source, spec.name)
    if before is not None and not replace:  # before it is fetched; and again in `_keep`
        raise _exists(spec.name)
    to_be, is_kept = wanted(spec, before, context.cipher, context.clock()), before is not None
    try:
        added = _add(context, to_be, before, replace=replace, dry_run=dry_run)
        is_kept = is_kept or added.applied is not None
    finally:
        if not is_kept:
            Mirror(context.folder, spec.name).forget_unheld()
    return added


def _add(context: SyncContext, to_be: Wanted, before: Source | None, *, replace: bool, dry_run: bool) -> Added:
    row = to_be.row
    with reading(context, row) as found:
        declaration = found.declaration()
        with context.store.reading() as session:
            now, author = context.clock(), found.author
            planned = make_plan(session, declaration, context.connector, now, prune=row.prune, author=author)
        applied = None
        if not dry_run:
            with context.store.writing() as session:
                row = _keep(session, row, before, replace=replace)
                applied = apply_reading(session, row, found, declaration)
        new_hosts = "" if to_be.secret.known_hosts else found.fetched.known_hosts
        changes = None if before is None else to_be.changes
        return Added(row, found.fetched.commit, planned, applied, new_hosts, changes)


def get_source(session: Session, name: str, *, is_held: bool = False) -> Source:
    """A source, with `is_held` locked until the transaction ends. Raises NotFoundError with the nearest name."""
    row = session.get(Source, name, with_for_update=is_held or None)
    if row is None:
        raise NotFoundError(f"there is no source {name!r}.{nearest(name, session.exec(select(Source.name)))}")
    return row


def set_paused(session: Session, name: str, paused_at: datetime | None, now: datetime) -> None:
    """Look at a source no more; or (None) go on, at once."""
    row = get_source(session, name)
    row.paused_at = paused_at
    row.next_sync = now
    session.add(row)


def request_sync(session: Session, name: str, now: datetime) -> bool:
    """Have a source looked at as soon as can be; False where there is none that is looked at."""
    due = update(Source).where(col(Source.name) == name, col(Source.paused_at).is_(None)).values(next_sync=now)
    return bool(session.scalars(due.returning(col(Source.name))).all())


def remove_source(
    session: Session, context: SyncContext, name: str, connector: Connector, *, prune: bool
) -> Applied | None:
    """Forget a source. What it declared stays and belongs to nobody, or (`prune`) is removed, too.

    Raises CatalogError, nothing changed, where something that stays refers to what would be removed.
    """
    # The row before the catalog, as `sync` takes them: else each could wait for the other, or one that is applied
    # meanwhile leaves entries that belong to no source there is.
    row, applied = get_source(session, name, is_held=True), None
    if prune:
        nothing = Declaration({})
        applied = apply(session, nothing, connector, context.clock(), prune=True, author=Author(name))
    else:
        for table in TABLES.values():
            owned = update(table).where(col(table.source) == name)
            session.execute(owned.values(source=None, commit_id=None))
        session.execute(update(Cluster).where(col(Cluster.source) == name).values(source=None))
        grow_version(session)
    session.delete(row)
    Mirror(context.folder, name).forget_unheld()  # who looks at it just now leaves it to the next look at others
    return applied


def _keep(session: Session, row: Source, before: Source | None, *, replace: bool) -> Source:
    """The row as it is kept: new, or what is said of an older one; whoever looks at that meanwhile loses the claim.

    Raises InvalidInputError where there is one, perhaps since a moment ago, that is not to be replaced, or is not as
    it was `before`.
    """
    new = insert_ignoring_conflicts(session, Source, [row.model_dump()]).returning(col(Source.name))
    is_new = bool(session.execute(new).all())
    kept = get_source(session, row.name, is_held=True)
    if is_new:
        return kept
    if not replace:
        raise _exists(row.name)
    if before is None or any(getattr(kept, column) != getattr(before, column) for column in (*SAID, "secret")):
        raise InvalidInputError(f"source {row.name!r} was changed meanwhile; see `kubeprobe source show {row.name}`")
    kept.sqlmodel_update(row.model_dump(include={*SAID, "secret", "next_sync"}))
    kept.claim, kept.claimed_until = kept.claim + 1, None
    return kept


def _exists(name: str) -> InvalidInputError:
    return InvalidInputError(f"source {name!r} exists already; to change it, say --replace")
