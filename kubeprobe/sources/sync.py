"""Looking at sources: what is new is applied in one transaction, or it is noted why not and the old state stays.

Any number of processes may look at once: a source is claimed first, and what comes of it is written only under that
claim (a compare-and-set). One that is killed half-way has changed nothing; its claim lapses.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

import structlog
from sqlalchemy import or_
from sqlmodel import Session, col, select

from kubeprobe.catalog import Action, Applied, CatalogError, Declaration, Plan, apply, make_plan
from kubeprobe.catalog.changes import digest_of
from kubeprobe.catalog.snapshot import catalog_version
from kubeprobe.errors import KubeProbeError
from kubeprobe.sources.mirror import mirrors
from kubeprobe.sources.reading import Reading, SyncContext, reading
from kubeprobe.sources.secret import Secret
from kubeprobe.store import Source

log = structlog.get_logger(__name__)

CLAIM = timedelta(minutes=5)
"""Longer than a look takes, whatever git does (`git.FETCH_WITHIN_S`)."""
AT_ONCE = 4
"""Sources that one process looks at, at a time."""
ERROR_LENGTH = 4000

_busy = Lock()


@dataclass(frozen=True)
class Synced:
    """What came of a look at a source."""

    source: str
    commit: str | None = None
    """The branch's head; None where it could not be fetched."""
    applied: Applied | None = None
    """None where there was nothing new, or it could not be applied."""
    error: str = ""
    is_lost: bool = False
    """Somebody else has claimed the source meanwhile, or removed it: nothing was written here."""


def sync_due(context: SyncContext) -> list[Synced]:
    """Look at every source that is due.

    One call at a time in a process, so that slow repositories keep no more than one of its threads busy.
    """
    if not _busy.acquire(blocking=False):
        return []
    try:
        found: list[Synced] = []
        while claimed := _claim_due(context):
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="source") as pool:
                found += pool.map(lambda source: _sync(context, source), claimed)
        _forget_strays(context)
        return found
    finally:
        _busy.release()


def sync_now(context: SyncContext, name: str) -> Synced:
    """Look at one source now, and apply it even where nothing is new: that puts right what was changed by hand."""
    with context.store.writing() as session:
        row = session.get(Source, name, with_for_update=True)
        assert row is not None, "the caller has looked it up"
        _claim(row, context.clock())  # whoever was looking at it meanwhile writes nothing any more
    return _sync(context, row, is_forced=True)


def plan_source(context: SyncContext, source: Source) -> Plan:
    """What applying the source's branch as it is now would do. Raises GitError and CatalogError."""
    with reading(context, source) as found:
        declaration = found.declaration()
        with context.store.reading() as session:
            return make_plan(
                session, declaration, context.connector, context.clock(), prune=source.prune, author=found.author
            )


def apply_reading(session: Session, row: Source, found: Reading, declaration: Declaration) -> Applied:
    """Apply what was read, and note it on the source's row. Raises CatalogError."""
    context, now = found.context, found.context.clock()
    applied = apply(session, declaration, context.connector, now, prune=row.prune, author=found.author)
    row.applied_commit, row.applied_tree, row.applied_at = found.fetched.commit, found.tree_id, now
    row.declared = {
        f"{kind}/{name}": digest_of(entry.spec.as_json()) for (kind, name), entry in declaration.entries.items()
    }
    note_seen(row, found)
    return applied


def note_seen(row: Source, found: Reading) -> None:
    """The branch was fetched, and all is well. A host that was taken on trust is kept: from now on it has to fit."""
    row.seen_commit, row.seen_at = found.fetched.commit, found.context.clock()
    row.error, row.error_since, row.refused_tree, row.refused_version = "", None, None, None
    secret = Secret.open(found.context.cipher, row.secret)
    if found.fetched.known_hosts and not secret.known_hosts:
        row.secret = secret.with_known_hosts(found.fetched.known_hosts).seal(found.context.cipher)


def _forget_strays(context: SyncContext) -> None:
    """Copies without a source: it was removed from another machine, or the process that added it was killed."""
    if not (copies := list(mirrors(context.folder))):
        return
    with context.store.reading() as session:
        kept = set(session.exec(select(Source.name)))
    for copy in copies:
        if copy.name not in kept:
            copy.forget_unheld()  # one that is just being added is held; one that was, is fetched again


def _claim_due(context: SyncContext) -> Sequence[Source]:
    now = context.clock()
    due = (
        select(Source)
        .where(
            col(Source.paused_at).is_(None),
            col(Source.next_sync) <= now,
            or_(col(Source.claimed_until).is_(None), col(Source.claimed_until) <= now),
        )
        .order_by(col(Source.next_sync))
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    with context.store.writing() as session:
        rows = session.exec(due).all()
        for row in rows:
            _claim(row, now)
    return rows


def _claim(row: Source, now: datetime) -> None:
    """Moves the next look on at once: one that is asked for meanwhile (a webhook) stays due."""
    row.claim += 1
    row.claimed_until = now + CLAIM
    row.next_sync = now + timedelta(seconds=row.every_s)


def _sync(context: SyncContext, source: Source, *, is_forced: bool = False) -> Synced:
    """Look at a claimed source. Whatever goes wrong is noted on it, and stops no other."""
    try:
        with reading(context, source) as found:
            return _take(context, source, found, is_forced=is_forced)
    except KubeProbeError as error:
        told = str(error)
    except Exception as error:
        log.exception("a source cannot be looked at", source=source.name)
        told = f"{type(error).__name__}: {error}"
    return _note_error(context, source, told)


def _take(context: SyncContext, source: Source, found: Reading, *, is_forced: bool) -> Synced:
    """Apply what was read, unless it is known."""
    commit = found.fetched.commit
    with context.store.reading() as session:
        version = catalog_version(session)
    is_refused = (source.refused_tree, source.refused_version) == (found.tree_id, version)
    if not is_forced and (found.tree_id == source.applied_tree or is_refused):
        return _note_known(context, source, found, is_refused=is_refused)
    try:
        declaration = found.declaration()
        with context.store.writing() as session:
            row = _held(session, source)
            if row is None:
                return Synced(source.name, commit, is_lost=True)
            applied = apply_reading(session, row, found, declaration)
            row.claimed_until = None
    except CatalogError as error:
        return _note_error(context, source, str(error), found, version)
    log.info("source applied", source=source.name, commit=commit, **_counts(applied))
    return Synced(source.name, commit, applied)


def _note_known(context: SyncContext, source: Source, found: Reading, *, is_refused: bool) -> Synced:
    """Nothing new: what is in force stays in force, and what was refused stays refused."""
    with context.store.writing() as session:
        row = _held(session, source)
        if row is None:
            return Synced(source.name, found.fetched.commit, is_lost=True)
        row.claimed_until = None
        if is_refused:
            row.seen_commit, row.seen_at = found.fetched.commit, context.clock()
        else:
            note_seen(row, found)
        return Synced(source.name, found.fetched.commit, error=row.error)


def _note_error(
    context: SyncContext, source: Source, told: str, found: Reading | None = None, version: int | None = None
) -> Synced:
    """Keep the reason on the source; log it once, not at every look."""
    told = told if len(told) <= ERROR_LENGTH else f"{told[:ERROR_LENGTH]} ..."
    commit = found.fetched.commit if found else None
    with context.store.writing() as session:
        row = _held(session, source)
        if row is None:
            return Synced(source.name, commit, error=told, is_lost=True)
        is_new = row.error != told
        row.claimed_until = None
        if is_new:
            row.error, row.error_since = told, context.clock()
        row.refused_tree, row.refused_version = (found.tree_id, version) if found else (None, None)
        if found:
            row.seen_commit, row.seen_at = found.fetched.commit, context.clock()
    if is_new:
        log.warning("source not applied; the catalog stays as it was", source=source.name, commit=commit, told=told)
    return Synced(source.name, commit, error=told)


def _held(session: Session, source: Source) -> Source | None:
    """The source's row, locked, if the claim on it is still ours; it may be gone, too."""
    row = session.get(Source, source.name, with_for_update=True)
    return row if row is not None and row.claim == source.claim else None


def _counts(applied: Applied) -> dict[str, int]:
    actions = [item.action for item in applied.items]
    return {str(action): actions.count(action) for action in (Action.ADDED, Action.CHANGED, Action.REMOVED)}
