"""Migrates the store to the schema that this version of KubeProbe expects, and back.

Every process checks the schema when it starts, few migrate it: Alembic is imported only for that, as its import takes
as long as that of all tables together.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlmodel import select
from ulid import ULID

from kubeprobe.errors import KubeProbeError, NotFoundError
from kubeprobe.store.catalog import CatalogVersion
from kubeprobe.store.engine import STATEMENT_TIMEOUT, Store, insert_ignoring_conflicts, open_store, sqlite_path
from kubeprobe.store.installation import Installation

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0012"
"""The newest revision in migrations/versions; a test checks it."""
MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaOutdatedError(KubeProbeError):
    """The store has another schema than this version expects; run `kubeprobe migrate`."""


class SchemaNewerError(KubeProbeError):
    """The store has the schema of a newer version."""


class NoStoreError(KubeProbeError):
    """There is no store where the settings say. Run `kubeprobe migrate`, or `kubeprobe up` to start everything."""


def open_migrated_store(address: str, statement_timeout: timedelta | None = STATEMENT_TIMEOUT) -> Store:
    """Open a store that exists and has this version's schema. Raises NoStoreError or SchemaOutdatedError."""
    path = sqlite_path(address)
    if path is not None and not path.exists():
        raise NoStoreError(
            f"There is no store at {path}. Change to the folder that has it, or create one: "
            "`kubeprobe up` starts everything here, `kubeprobe migrate` creates an empty store."
        )
    store = open_store(address, statement_timeout)
    try:
        check_schema(store)
    except BaseException:
        store.close()
        raise
    return store


def migrate(store: Store, now: datetime, revision: str = "head") -> None:
    """Upgrade (or, with an older revision or `base`, downgrade) the store; insert the installation's row."""
    from alembic import command  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    with store.writing() as session:
        config = _config()
        config.attributes["connection"] = session.connection()
        current = MigrationContext.configure(session.connection()).get_current_revision()
        _check_not_newer(current)
        if revision == "base" or (current and revision in _older_than(current)):
            command.downgrade(config, revision)
            return
        command.upgrade(config, revision)
        if session.exec(select(Installation)).first() is None:
            session.add(Installation(id=str(ULID.from_datetime(now)).lower(), created_at=now))
        session.execute(insert_ignoring_conflicts(session, CatalogVersion, [{"id": 1, "version": 0}]))


def check_schema(store: Store) -> None:
    """Raises SchemaOutdatedError for a store that was not migrated to this version."""
    current = None
    with store.reading() as session:
        if inspect(session.connection()).has_table("alembic_version"):
            current = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    _check_not_newer(current)
    if current != HEAD:
        raise SchemaOutdatedError(
            f"The store is at revision {current or 'none'}, this version of KubeProbe needs {HEAD}. "
            "Run `kubeprobe migrate`."
        )


def _check_not_newer(current: str | None) -> None:
    if current is not None and current > HEAD:
        raise SchemaNewerError(
            f"The store is at revision {current}, of a newer version of KubeProbe than this one, which needs {HEAD}. "
            "Run that version; it can migrate the store back."
        )


def installation_id(store: Store) -> str:
    """The id of this installation."""
    with store.reading() as session:
        found = session.exec(select(Installation)).first()
    if found is None:
        raise NotFoundError("The store has no installation. Run `kubeprobe migrate`.")
    return found.id


def _older_than(revision: str) -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    script = ScriptDirectory.from_config(_config())
    return {r.revision for r in script.walk_revisions("base", revision)} - {revision}


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
