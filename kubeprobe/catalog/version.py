"""The catalog's version and its lock: one row, so that writers queue up and readers see when to load anew."""

from sqlalchemy import select, update
from sqlmodel import Session, col

from kubeprobe.store import CatalogVersion, insert_ignoring_conflicts

_ROW = 1


def lock_catalog(session: Session) -> int:
    """Hold the catalog until the transaction ends; others who want to write it wait. Returns its version.

    SQLite needs no more than the write lock that its transaction holds already.
    """
    session.execute(insert_ignoring_conflicts(session, CatalogVersion, [{"id": _ROW, "version": 0}]))
    held = select(col(CatalogVersion.version)).where(col(CatalogVersion.id) == _ROW).with_for_update()
    version: int = session.execute(held).scalar_one()
    return version


def grow_version(session: Session) -> int:
    """Tell every process that its copy of the catalog is old. Returns the new version."""
    version = lock_catalog(session) + 1
    session.execute(update(CatalogVersion).where(col(CatalogVersion.id) == _ROW).values(version=version))
    return version
