"""Syncing sources: a new revision is applied in one transaction, or the error is recorded and the old state stays.

Any number of processes may sync at the same time: a source is claimed first, and the result is written only while the
claim is held (a compare-and-set). A process that is killed has changed nothing; its claim expires.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Lock, Thread

import structlog
from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from kubeprobe.catalog import (
    Action,
    ApplyResult,
    CatalogError,
    Connector,
    Declaration,
    Plan,
    apply,
    make_plan,
    prepare_connections,
)
from kubeprobe.catalog.changes import digest_of
from kubeprobe.catalog.snapshot import catalog_version
from kubeprobe.errors import KubeProbeError
from kubeprobe.sources.mirror import mirrors
from kubeprobe.sources.revision import Revision, SyncContext, open_revision
from kubeprobe.sources.secret import Secret
from kubeprobe.store import DatabaseError, Source

log = structlog.get_logger(__name__)

CLAIM_LIFETIME = timedelta(minutes=5)
"""Renewed while its process lives: of one that was killed, others continue after this time."""
RENEWALS = 60
"""A sync that has not ended by then never will; another process takes over."""
MAX_CONCURRENT = 4
"""Sources that one process syncs concurrently."""
MAX_ERROR_LENGTH = 4000
UNREADABLE_PAUSE = timedelta(minutes=1)
MAX_PATHS = 10
"""Named in a line of the log."""

_busy = Lock()


@dataclass(frozen=True)
class SyncResult:
    """The result of a sync."""

    source: str
    commit: str | None = None
    """The branch's head; None if it could not be fetched."""
    applied: ApplyResult | None = None
    """None if there was nothing new, or it could not be applied."""
    error: str = ""
    is_claim_lost: bool = False
    """The source was claimed by another process, or removed, meanwhile: nothing was written."""


def sync_due(context: SyncContext) -> list[SyncResult]:
    """Sync every source that is due, each at most once, so that the call ends.

    One call at a time per process, so that slow repositories occupy only one of its worker threads.
    """
    if not _busy.acquire(blocking=False):
        return []
    try:
        found = list(_sync_all(context))
        _delete_orphaned_mirrors(context)
        return found
    finally:
        _busy.release()


def _sync_all(context: SyncContext) -> Iterator[SyncResult]:
    """Sync each due source once; the next one starts as soon as one has ended, so that slow ones delay few others."""
    with ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="source") as pool:
        running: set[Future[SyncResult]] = set()
        started: set[str] = set()
        while True:
            for source in _claim_due(context, MAX_CONCURRENT - len(running), started):
                started.add(source.name)
                running.add(pool.submit(_sync, context, source))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)


def sync_now(context: SyncContext, name: str) -> SyncResult:
    """Sync one source now, and apply it even if nothing is new, which reverts manual changes."""
    with context.store.writing() as session:
        row = session.get(Source, name, with_for_update=True)
        assert row is not None, "the caller has looked it up"
        _claim(row, context.clock())  # a concurrent sync of it can no longer write
    return _sync(context, row, is_forced=True)


def plan_source(context: SyncContext, source: Source) -> Plan:
    """What applying the newest revision would change. Raises GitError and CatalogError."""
    with open_revision(context, source) as revision:
        declaration = revision.declaration()
        connector = prepare_connections(declaration, context.connector)
        with context.store.reading() as session:
            return make_plan(
                session,
                declaration,
                connector,
                context.clock(),
                prune=source.prune,
                author=revision.author,
                policy=context.policy,
            )


def apply_revision(
    session: Session, row: Source, revision: Revision, declaration: Declaration, connector: Connector
) -> ApplyResult:
    """Apply a revision, and record it in the source's row. Raises CatalogError."""
    context, now = revision.context, revision.context.clock()
    applied = apply(
        session, declaration, connector, now, prune=row.prune, author=revision.author, policy=context.policy
    )
    row.applied_commit, row.applied_tree = revision.fetched.commit, revision.tree.id_as_exported()
    row.applied_at = now
    row.declared = {
        f"{kind}/{name}": digest_of(entry.spec.as_json()) for (kind, name), entry in declaration.entries.items()
    }
    record_success(row, revision)
    return applied


def record_success(row: Source, revision: Revision) -> None:
    """Record a successful sync. A host key that was trusted on first use is stored, and required from then on."""
    row.seen_commit, row.seen_at = revision.fetched.commit, revision.context.clock()
    row.error, row.error_since, row.refused_tree, row.refused_version = "", None, None, None
    secret = Secret.open(revision.context.cipher, row.secret)
    if revision.fetched.known_hosts and not secret.known_hosts:
        row.secret = secret.with_known_hosts(revision.fetched.known_hosts).seal(revision.context.cipher)


def _delete_orphaned_mirrors(context: SyncContext) -> None:
    """Delete mirrors without a source: it was removed on another machine, or the process that added it was killed."""
    if not (found := list(mirrors(context.folder))):
        return
    with context.store.reading() as session:
        sources = set(session.exec(select(Source.name)))
    for mirror in found:
        if mirror.name not in sources:
            mirror.delete_if_unlocked()  # that of a source that is being added is locked


def _claim_due(context: SyncContext, most: int, started: Collection[str]) -> Sequence[Source]:
    now = context.clock()
    due = (
        select(Source.name)
        .where(
            col(Source.paused_at).is_(None),
            col(Source.next_sync) <= now,
            col(Source.name).not_in(started),
            or_(col(Source.claimed_until).is_(None), col(Source.claimed_until) <= now),
        )
        .order_by(col(Source.next_sync))
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    with context.store.writing() as session:
        rows = [row for name in session.exec(due).all() if (row := _readable(session, name, now))]
        for row in rows:
            _claim(row, now)
    return rows


def _readable(session: Session, name: str, now: datetime) -> Source | None:
    """The row of a source; one that cannot be read is put off, so that it stops no other."""
    try:
        return session.get(Source, name)
    except (ValueError, TypeError, LookupError) as error:  # of a column's type, such as JSON that is cut
        log.error("source not synced: its row cannot be read", source=name, error=repr(error))
        later = {"next_sync": now + UNREADABLE_PAUSE, "error": f"its row in the store cannot be read: {error}"}
        session.execute(update(Source).where(col(Source.name) == name).values(later))
        return None


def _claim(row: Source, now: datetime) -> None:
    """Sets the next sync already, so that one that is requested during this one (by a webhook) stays due."""
    row.claim += 1
    row.claimed_until = now + CLAIM_LIFETIME
    row.next_sync = now + timedelta(seconds=row.every_s)


def _sync(context: SyncContext, source: Source, *, is_forced: bool = False) -> SyncResult:
    """Sync a claimed source. Any error is recorded in its row, so that it does not stop others."""
    try:
        with _renewing(context, source), open_revision(context, source) as revision:
            return _apply_if_new(context, source, revision, is_forced=is_forced)
    except KubeProbeError as error:
        message = str(error)
    except Exception as error:
        log.exception("source sync failed", source=source.name)
        message = f"{type(error).__name__}: {error}"
    return _record_error(context, source, message)


def _apply_if_new(context: SyncContext, source: Source, revision: Revision, *, is_forced: bool) -> SyncResult:
    """Apply a revision, unless its folder is unchanged, or was refused before with the same catalog."""
    commit = revision.fetched.commit
    with context.store.reading() as session:
        version = catalog_version(session)
    is_refused = source.refused_version == version and revision.is_known_as(source.refused_tree)
    if not is_forced and (is_refused or revision.is_known_as(source.applied_tree)):
        return _record_unchanged(context, source, revision, is_refused=is_refused)
    try:
        declaration = revision.declaration()
        connector = prepare_connections(declaration, context.connector)
        with context.store.writing() as session:
            row = _claimed_row(session, source)
            if row is None:
                return SyncResult(source.name, commit, is_claim_lost=True)
            applied = apply_revision(session, row, revision, declaration, connector)
            row.claimed_until = None
    except CatalogError as error:
        return _record_error(context, source, str(error), revision, version)
    log.info("source applied", source=source.name, commit=commit, **_counts(applied))
    if left_out := revision.tree.submodules:
        log.warning("submodules not fetched", source=source.name, paths=left_out[:MAX_PATHS])
    return SyncResult(source.name, commit, applied)


def _record_unchanged(context: SyncContext, source: Source, revision: Revision, *, is_refused: bool) -> SyncResult:
    """Nothing new: the applied revision stays in force, and a refused one stays refused."""
    with context.store.writing() as session:
        row = _claimed_row(session, source)
        if row is None:
            return SyncResult(source.name, revision.fetched.commit, is_claim_lost=True)
        row.claimed_until = None
        if is_refused:
            row.seen_commit, row.seen_at = revision.fetched.commit, context.clock()
        else:
            record_success(row, revision)
        return SyncResult(source.name, revision.fetched.commit, error=row.error)


def _record_error(
    context: SyncContext, source: Source, message: str, revision: Revision | None = None, version: int | None = None
) -> SyncResult:
    """Record the error in the source's row; log it once, not at every sync."""
    error = message if len(message) <= MAX_ERROR_LENGTH else f"{message[:MAX_ERROR_LENGTH]} ..."
    commit, refused = (revision.fetched.commit, revision.tree.id_as_exported()) if revision else (None, None)
    with context.store.writing() as session:
        row = _claimed_row(session, source)
        if row is None:
            return SyncResult(source.name, commit, error=error, is_claim_lost=True)
        is_new = row.error != error
        row.claimed_until = None
        if is_new:
            row.error, row.error_since = error, context.clock()
        row.refused_tree, row.refused_version = refused, version if refused else None
        if revision:
            row.seen_commit, row.seen_at = revision.fetched.commit, context.clock()
    if is_new:
        log.warning("source not applied", source=source.name, commit=commit, error=error)
    return SyncResult(source.name, commit, error=error)


@contextmanager
def _renewing(context: SyncContext, source: Source) -> Iterator[None]:
    """Renew the claim in the background: a large repository takes longer than a claim's lifetime."""
    ended = Event()

    def renew() -> None:
        # One that was released meanwhile stays so: this waits for the row while the result is being written.
        held = (col(Source.claim) == source.claim, col(Source.claimed_until).is_not(None))
        renewed = update(Source).where(col(Source.name) == source.name, *held)
        for _ in range(RENEWALS):
            if ended.wait(context.renew_every_s):
                return
            try:
                with context.store.writing() as session:
                    session.execute(renewed.values(claimed_until=context.clock() + CLAIM_LIFETIME))
            except DatabaseError as error:  # the next renewal is still in time
                log.warning("claim not renewed", source=source.name, error=str(error))

    thread = Thread(target=renew, name=f"claim of {source.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _claimed_row(session: Session, source: Source) -> Source | None:
    """The source's row, locked; None if another process has claimed it since, or it was removed."""
    row = session.get(Source, source.name, with_for_update=True)
    return row if row is not None and row.claim == source.claim else None


def _counts(applied: ApplyResult) -> dict[str, int]:
    """Keys for the log: `added`, `changed`, `removed`."""
    actions = [item.action for item in applied.items]
    return {str(action): actions.count(action) for action in (Action.ADDED, Action.CHANGED, Action.REMOVED)}
