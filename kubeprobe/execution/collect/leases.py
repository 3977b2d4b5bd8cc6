"""Distributes clusters among the collectors of a pool, by leases in the store.

Every collector renews its leases several times before they expire, leases free clusters up to its fair share, and
releases those above it. Two collectors on one cluster, for a moment, are harmless: the store accepts one outcome.
"""

from collections.abc import Sequence
from datetime import datetime
from math import ceil

from sqlalchemy import delete, or_, update
from sqlmodel import Session, col, func, select

from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Collector, Store, insert_ignoring_conflicts

DEAD_AFTER_LEASES = 100
UNSYNCED = {"synchronize_session": False}


def delete_dead_collectors(store: Store, now: datetime, settings: Settings) -> None:
    """Delete the rows of collectors that have not renewed their leases for long."""
    with store.writing() as session:
        session.execute(delete(Collector).where(col(Collector.seen_at) < now - DEAD_AFTER_LEASES * settings.lease))


def renew(store: Store, name: str, settings: Settings, now: datetime) -> Sequence[Cluster]:
    """Renew the leases of collector `name`. Returns the clusters that it watches until they expire."""
    with store.writing() as session:
        _record_heartbeat(session, name, settings.pool, now)
        share = _fair_share(session, settings, now)
        held = list(
            session.scalars(
                update(Cluster)
                .where(col(Cluster.collector) == name, col(Cluster.pool) == settings.pool)
                .values(leased_until=now + settings.lease)
                .returning(col(Cluster.name)),
                execution_options=UNSYNCED,
            )
        )
        if len(held) > share:
            _release(session, sorted(held)[share:])
        elif len(held) < share:
            _lease(session, name, share - len(held), settings, now)
        mine = select(Cluster).where(Cluster.collector == name, Cluster.pool == settings.pool)
        return session.exec(mine.order_by(Cluster.name)).all()


def release(store: Store, name: str) -> None:
    """Release all clusters of a collector that shuts down, so that others lease them at once.

    Its own row before its clusters, as in `renew`, which may run concurrently: else they could deadlock.
    """
    with store.writing() as session:
        session.execute(delete(Collector).where(col(Collector.name) == name))
        mine = update(Cluster).where(col(Cluster.collector) == name)
        session.execute(mine.values(collector=None, leased_until=None), execution_options=UNSYNCED)


def _record_heartbeat(session: Session, name: str, pool: str, now: datetime) -> None:
    mine = update(Collector).where(col(Collector.name) == name).values(seen_at=now)
    if session.execute(mine.returning(col(Collector.name)), execution_options=UNSYNCED).first() is None:
        row = {"name": name, "pool": pool, "seen_at": now}
        session.execute(insert_ignoring_conflicts(session, Collector, [row]))


def _fair_share(session: Session, settings: Settings, now: datetime) -> int:
    alive = (
        select(func.count())
        .select_from(Collector)
        .where(Collector.pool == settings.pool, Collector.seen_at > now - settings.lease)
    ).scalar_subquery()
    clusters = (select(func.count()).select_from(Cluster).where(Cluster.pool == settings.pool)).scalar_subquery()
    total, sharing = session.exec(select(clusters, alive)).one()
    return ceil(int(total) / max(1, int(sharing)))


def _lease(session: Session, name: str, count: int, settings: Settings, now: datetime) -> None:
    free = (
        select(Cluster.name)
        .where(
            Cluster.pool == settings.pool,
            or_(col(Cluster.collector).is_(None), col(Cluster.leased_until).is_(None), col(Cluster.leased_until) < now),
        )
        .order_by(Cluster.name)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(Cluster)
        .where(col(Cluster.name).in_(free.scalar_subquery()))
        .values(collector=name, leased_until=now + settings.lease),
        execution_options=UNSYNCED,
    )


def _release(session: Session, names: Sequence[str]) -> None:
    session.execute(
        update(Cluster).where(col(Cluster.name).in_(names)).values(collector=None, leased_until=None),
        execution_options=UNSYNCED,
    )
