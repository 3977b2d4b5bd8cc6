"""The catalog's version and its lock: one row, which writers lock and readers compare with their copy.

Every transaction that locks several of these locks them in this order, so that no two deadlock: a source's row, the
catalog, its entries, clusters (by name, all at once), schedules, nodes.
"""

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlmodel import Session, col

from kubeprobe.store import CatalogVersion, Cluster, insert_ignoring_conflicts

_ROW = 1
_CHUNK = 5000


def lock_catalog(session: Session) -> int:
    """Lock the catalog until the transaction ends; other writers wait. Returns its version.

    On SQLite, the transaction's own write lock is enough.
    """
    session.execute(insert_ignoring_conflicts(session, CatalogVersion, [{"id": _ROW, "version": 0}]))
    held = select(col(CatalogVersion.version)).where(col(CatalogVersion.id) == _ROW).with_for_update()
    version: int = session.execute(held).scalar_one()
    return version


def lock_clusters(session: Session, names: Iterable[str], *, skip_locked: bool = False) -> list[str]:
    """Lock the rows of these clusters, which must be all that the transaction will write. Returns the locked ones.

    With `skip_locked`, rows that another transaction has locked are left out instead of waited for.
    """
    ordered = sorted(names)
    locked: list[str] = []
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        found = select(col(Cluster.name)).where(col(Cluster.name).in_(chunk)).order_by(col(Cluster.name))
        locked += session.scalars(found.with_for_update(skip_locked=skip_locked)).all()
    return locked


def increment_version(session: Session) -> int:
    """Increment the version, so that every process reloads its copy of the catalog. Returns the new version."""
    version = lock_catalog(session) + 1
    session.execute(update(CatalogVersion).where(col(CatalogVersion.id) == _ROW).values(version=version))
    return version
