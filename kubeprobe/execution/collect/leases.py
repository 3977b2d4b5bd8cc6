"""Distributes clusters among the collectors of a pool, by leases in the store.

Every collector has one lease, in its own row; its clusters refer to it. It renews the lease several times before it
expires, takes free clusters up to its fair share, and releases those above it. Two collectors on one cluster, for a
moment, are harmless: the store accepts one outcome.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import structlog
from sqlalchemy import LargeBinary, Select, delete, func, or_, select, update
from sqlmodel import Session, col

from kubeprobe import metrics
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Collector, Store, insert_ignoring_conflicts, is_watched
from kubeprobe.store.types import database_now

log = structlog.get_logger(__name__)

DEAD_AFTER_LEASES = 100
UNSYNCED = {"synchronize_session": False}
OVERLAP = timedelta(minutes=1)
"""Rows that changed so long before the last renewal are read again: transactions last."""
READ_ALL_EVERY = timedelta(minutes=5)
LOOKUP = 500
_COLUMNS: tuple[Any, ...] = tuple(
    column
    for column in Cluster.__table__.c  # type: ignore[attr-defined]
    if column.name not in {"connection", "spec"}
)
"""What a collector needs of a cluster; its connection, by far the longest, is read when it has changed."""
SEAL_LENGTH = 40
"""Characters of an encrypted connection that differ each time: the time and the random start of a Fernet token."""
_SEAL = func.substr(col(Cluster.connection), 1, SEAL_LENGTH, type_=LargeBinary).label("seal")


def delete_dead_collectors(store: Store, now: datetime, settings: Settings) -> None:
    """Delete the rows of collectors that have not renewed their leases for long."""
    with store.writing() as session:
        session.execute(delete(Collector).where(col(Collector.leased_until) < now - DEAD_AFTER_LEASES * settings.lease))


class Leases:
    """The clusters of one collector, as of its last renewal."""

    def __init__(self, store: Store, name: str, settings: Settings) -> None:
        self._store = store
        self._name = name
        self._settings = settings
        self._known: dict[str, Cluster] = {}
        self._unreadable: set[str] = set()
        self._read_at: datetime | None = None
        """When changes were last read, by the clock that `Cluster.updated_at` is of. None: read all."""
        self._read_all_at: datetime | None = None

    def renew(self, now: datetime) -> list[Cluster]:
        """Renew the lease. Returns the clusters that this collector watches until it expires.

        Some five statements, whose results have the size of what has changed.
        """
        with self._store.writing() as session:
            self._record_heartbeat(session, now)
            total, sharing, held, read_at = self._counts(session, now)
            share = ceil(total / max(1, sharing))
            is_known = self._is_known(held, read_at)
            if held > share:
                self._release_last(session, held - share)
            elif held < share:
                taken = self._lease(session, share - held, now)
                is_known = is_known and not taken
            mine = (col(Cluster.collector) == self._name, col(Cluster.pool) == self._settings.pool)
            if is_known and held <= share and self._read_at is not None:
                found = self._read(session, *mine, col(Cluster.updated_at) >= self._read_at - OVERLAP)
                self._known |= {cluster.name: cluster for cluster in found}
            else:
                self._unreadable.clear()
                self._known = {cluster.name: cluster for cluster in self._read(session, *mine)}
                self._read_all_at = read_at
        self._read_at = read_at
        return [self._known[name] for name in sorted(self._known)]

    def release(self) -> None:
        """Release all clusters of a collector that shuts down, so that others lease them at once.

        Its own row before its clusters, as in `renew`, which may run concurrently: else they could deadlock. Without
        that row, its clusters are free.
        """
        with self._store.writing() as session:
            session.execute(delete(Collector).where(col(Collector.name) == self._name))
            _release(session, select(col(Cluster.name)).where(col(Cluster.collector) == self._name))

    def _is_known(self, held: int, read_at: datetime) -> bool:
        """Whether nothing but this collector can have changed which clusters it has: then the number would differ."""
        if self._read_all_at is None or read_at - self._read_all_at >= READ_ALL_EVERY:
            return False
        return held == len(self._known) + len(self._unreadable)

    def _record_heartbeat(self, session: Session, now: datetime) -> None:
        values = {"leased_until": now + self._settings.lease}
        mine = update(Collector).where(col(Collector.name) == self._name).values(**values)
        if session.execute(mine.returning(col(Collector.name)), execution_options=UNSYNCED).first() is None:
            row = {"name": self._name, "pool": self._settings.pool, **values}
            session.execute(insert_ignoring_conflicts(session, Collector, [row]))

    def _counts(self, session: Session, now: datetime) -> tuple[int, int, int, datetime]:
        """The clusters of the pool, its living collectors, the clusters of this one, and the database's time."""
        pool, count = self._settings.pool, select(func.count())
        in_pool = count.select_from(Cluster).where(col(Cluster.pool) == pool)
        alive = count.select_from(Collector).where(col(Collector.pool) == pool, col(Collector.leased_until) > now)
        held = in_pool.where(col(Cluster.collector) == self._name)
        columns = [counted.scalar_subquery() for counted in (in_pool, alive, held)]
        total, sharing, mine, read_at = session.execute(select(*columns, database_now())).one()
        return int(total), int(sharing), int(mine), read_at

    def _lease(self, session: Session, count: int, now: datetime) -> bool:
        """Take so many free clusters; whether there were any."""
        free = (
            select(col(Cluster.name))
            .where(col(Cluster.pool) == self._settings.pool, or_(col(Cluster.collector).is_(None), ~is_watched(now)))
            .order_by(col(Cluster.name))
            .limit(count)
            .with_for_update(skip_locked=True)
        )
        taken = (
            update(Cluster)
            .where(col(Cluster.name).in_(free.scalar_subquery()))
            .values(collector=self._name)
            .returning(col(Cluster.name))
        )
        return session.execute(taken, execution_options=UNSYNCED).first() is not None

    def _release_last(self, session: Session, count: int) -> None:
        last = (
            select(col(Cluster.name))
            .where(col(Cluster.collector) == self._name, col(Cluster.pool) == self._settings.pool)
            .order_by(col(Cluster.name).desc())
            .limit(count)
        )
        _release(session, last)

    def _read(self, session: Session, *where: Any) -> list[Cluster]:
        """These clusters; one whose row cannot be read is left out."""
        try:
            rows = session.execute(select(*_COLUMNS, _SEAL).where(*where)).mappings().all()
        except (ValueError, TypeError, LookupError):  # of a column's type, such as JSON that is cut
            rows = self._read_each(session, session.scalars(select(col(Cluster.name)).where(*where)).all())
        stale = [row["name"] for row in rows if self._connection(row) is None]
        fresh: dict[str, bytes] = {}
        for part in (stale[i : i + LOOKUP] for i in range(0, len(stale), LOOKUP)):
            columns = select(col(Cluster.name), col(Cluster.connection)).where(col(Cluster.name).in_(part))
            fresh.update((row.name, row.connection) for row in session.execute(columns))
        return [_cluster(row, fresh.get(row["name"]) or self._connection(row) or b"") for row in rows]

    def _read_each(self, session: Session, names: Sequence[str]) -> list[Any]:
        found = []
        for name in names:
            try:
                found.append(
                    session.execute(select(*_COLUMNS, _SEAL).where(col(Cluster.name) == name)).mappings().one()
                )
            except (ValueError, TypeError, LookupError) as error:
                self._unreadable.add(name)
                metrics.record_set_aside("clusters")
                log.error("cluster not watched: its row cannot be read", cluster=name, error=repr(error))
        return found

    def _connection(self, row: Any) -> bytes | None:
        """The connection that is known, if it is still the row's."""
        known = self._known.get(row["name"])
        if known is None or known.connection[:SEAL_LENGTH] != (row["seal"] or b""):
            return None
        return known.connection


def _release(session: Session, names: Select[Any]) -> None:
    """Release these clusters but those whose rows are locked: to wait for one while holding others could deadlock."""
    free = names.with_for_update(skip_locked=True).cte("free")
    released = update(Cluster).where(col(Cluster.name).in_(select(free.c.name))).values(collector=None)
    session.execute(released, execution_options=UNSYNCED)


def _cluster(row: Any, connection: bytes) -> Cluster:
    return Cluster(**{name: value for name, value in row.items() if name != "seal"}, connection=connection)
