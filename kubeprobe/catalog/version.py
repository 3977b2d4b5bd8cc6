"""The catalog's version and its lock: one row, which writers lock and readers compare with their copy."""

from sqlalchemy import select, update
from sqlmodel import Session, col

from kubeprobe.store import CatalogVersion, insert_ignoring_conflicts

_ROW = 1


def lock_catalog(session: Session) -> int:
    """Lock the catalog until the transaction ends; other writers wait. Returns its version.

    On SQLite, the transaction's own write lock is enough.
    """
    session.execute(insert_ignoring_conflicts(session, CatalogVersion, [{"id": _ROW, "version": 0}]))
    held = select(col(CatalogVersion.version)).where(col(CatalogVersion.id) == _ROW).with_for_update()
    version: int = session.execute(held).scalar_one()
    return version


def increment_version(session: Session) -> int:
    """Increment the version, so that every process reloads its copy of the catalog. Returns the new version."""
    version = lock_catalog(session) + 1
    session.execute(update(CatalogVersion).where(col(CatalogVersion.id) == _ROW).values(version=version))
    return version
