"""Pausing and resuming a binding's periodic runs, on all its clusters or on one."""

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session, col

from kubeprobe.catalog.times import next_due
from kubeprobe.catalog.version import increment_version, lock_catalog
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.names import nearest
from kubeprobe.store import Binding, Schedule


def pause(session: Session, binding: str, cluster: str | None = None, *, now: datetime) -> int:
    """Stop opening periodic runs, and for a whole binding also runs on changes. Open runs continue.

    Returns the number of schedules that were paused. Raises NotFoundError if there is no such binding, or if it has no
    schedule on that cluster.
    """
    row = _find(session, binding)
    if cluster is None:
        if row.paused_at is None:
            row.paused_at = now
            session.add(row)
            session.flush()
            increment_version(session)
    else:
        _check_cluster(session, binding, cluster)
    stop = update(Schedule).where(col(Schedule.binding) == binding, col(Schedule.paused_at).is_(None))
    if cluster is not None:
        stop = stop.where(col(Schedule.cluster) == cluster)
    return _count(session.execute(stop.values(paused_at=now)))


def resume(session: Session, binding: str, cluster: str | None = None, *, now: datetime) -> int:
    """Resume with the next slot after `now`; slots missed while paused are not caught up.

    A whole binding resumes on all clusters, including those that were paused one by one. Returns the number of resumed
    schedules. Raises NotFoundError as `pause` does, and InvalidInputError if another pause is in force.
    """
    row = _find(session, binding)
    if row.spec.get("paused"):
        raise InvalidInputError(
            f"Binding {binding!r} has `paused: true` in {row.origin or 'its YAML'}; remove it there and apply"
        )
    if cluster is None:
        if row.paused_at is not None:
            row.paused_at = None
            session.add(row)
            session.flush()
            increment_version(session)
    else:
        _check_cluster(session, binding, cluster)
        if row.paused_at is not None:
            raise InvalidInputError(f"Binding {binding!r} is paused on all clusters; resume it without a cluster")
    return resume_rows(session, binding, cluster, now)


def resume_rows(session: Session, binding: str, cluster: str | None, now: datetime) -> int:
    """Resume a binding's schedule rows with the next slot after `now`; returns how many."""
    paused = select(Schedule).where(col(Schedule.binding) == binding, col(Schedule.paused_at).is_not(None))
    if cluster is not None:
        paused = paused.where(col(Schedule.cluster) == cluster)
    rows = session.execute(paused).scalars().all()
    for row in rows:
        row.paused_at, row.next_due = None, next_due(row, now)
        session.add(row)
    session.flush()
    return len(rows)


def _find(session: Session, binding: str) -> Binding:
    lock_catalog(session)
    row = session.get(Binding, binding)
    if row is None:
        known = session.execute(select(col(Binding.name))).scalars()
        raise NotFoundError(f"there is no Binding {binding!r}.{nearest(binding, known)}")
    return row


def _check_cluster(session: Session, binding: str, cluster: str) -> None:
    own = set(session.execute(select(col(Schedule.cluster)).where(col(Schedule.binding) == binding)).scalars())
    if cluster not in own:
        raise NotFoundError(
            f"Binding {binding!r} has no periodic schedule on cluster {cluster!r}.{nearest(cluster, own)}"
        )


def _count(result: Any) -> int:
    count: int = result.rowcount
    return count
