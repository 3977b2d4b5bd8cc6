"""Bringing the store to the shape that this version of KubeProbe expects, and back."""

from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import select
from ulid import ULID

from kubeprobe.errors import KubeProbeError, NotFoundError
from kubeprobe.store.catalog import CatalogVersion
from kubeprobe.store.engine import Store, insert_ignoring_conflicts
from kubeprobe.store.installation import Installation

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaOutdatedError(KubeProbeError):
    """The store has another shape than this version expects; run `kubeprobe migrate`."""


def migrate(store: Store, now: datetime, revision: str = "head") -> None:
    """Upgrade (or, with an older revision or `base`, downgrade) the store; make the installation's row."""
    with store.writing() as session:
        config = _config()
        config.attributes["connection"] = session.connection()
        here = MigrationContext.configure(session.connection()).get_current_revision()
        if revision == "base" or (here and revision in _older_than(here)):
            command.downgrade(config, revision)
            return
        command.upgrade(config, revision)
        if session.exec(select(Installation)).first() is None:
            session.add(Installation(id=str(ULID.from_datetime(now)).lower(), created_at=now))
        session.execute(insert_ignoring_conflicts(session, CatalogVersion, [{"id": 1, "version": 0}]))


def check_schema(store: Store) -> None:
    """Refuse a store that was not migrated to this version."""
    with store.reading() as session:
        here = MigrationContext.configure(session.connection()).get_current_revision()
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if here != head:
        raise SchemaOutdatedError(
            f"The store is at revision {here or 'none'}, this version of KubeProbe needs {head}. "
            "Run `kubeprobe migrate`."
        )


def installation_id(store: Store) -> str:
    """The id of this installation."""
    with store.reading() as session:
        found = session.exec(select(Installation)).first()
    if found is None:
        raise NotFoundError("The store holds no installation. Run `kubeprobe migrate`.")
    return found.id


def _older_than(revision: str) -> set[str]:
    script = ScriptDirectory.from_config(_config())
    return {r.revision for r in script.walk_revisions("base", revision)} - {revision}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
