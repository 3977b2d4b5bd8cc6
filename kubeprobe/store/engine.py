"""Opens the store, and handles the differences between SQLite and PostgreSQL."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    bindparam,
    column,
    create_engine,
    delete,
    event,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlmodel import Session, SQLModel

from kubeprobe.errors import InvalidInputError
from kubeprobe.masking import mask_secrets
from kubeprobe.privatefiles import create_private, make_private_folder, restrict_database

log = structlog.get_logger(__name__)

BUSY_TIMEOUT_S = 30
STATEMENT_TIMEOUT = timedelta(seconds=30)
DELETED_AT_ONCE = 500
_POSTGRESQL = ("postgresql+psycopg", "postgresql", "postgres")
"""The first is the driver; the others are names for it, such as Heroku's."""
_SQLITE = ("sqlite", "sqlite+pysqlite")
URL_HELP = "expected sqlite:///FILE or postgresql://USER@HOST/NAME (KUBEPROBE_DATABASE_URL)"
DatabaseError = SQLAlchemyError
"""What statements and connections raise, for modules without SQL of their own."""


class Store:
    """The database. Each session is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writes = engine.execution_options(writes=True)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One read-write transaction: committed when the block ends, rolled back when it raises.

        On SQLite it takes the write lock at once, so that a compare-and-set never fails with a lock error.
        """
        with Session(self._writes, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One read-only transaction; writes in it are rolled back."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_store(address: str, statement_timeout: timedelta | None = STATEMENT_TIMEOUT) -> Store:
    """Open the store at a SQLAlchemy address (`sqlite:///file`, `postgresql+psycopg://...`).

    `statement_timeout`: of PostgreSQL; None for migrations, which take as long as they take.
    Its errors show statements without values: these include reports and encrypted credentials.
    """
    url = _parse_address(address)
    if url.drivername in _POSTGRESQL:
        from kubeprobe.store.postgresql import postgresql_engine  # noqa: PLC0415 - its driver takes long to load

        return Store(postgresql_engine(url.set(drivername=_POSTGRESQL[0]), statement_timeout))
    if url.database and url.database != ":memory:":
        _make_private(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Store(engine)


def _make_private(database: Path) -> None:
    """For its owner only, with the log files beside it, which SQLite gives the same mode: reports may hold secrets."""
    if not database.parent.exists():
        make_private_folder(database.parent)
    if not database.exists():
        create_private(database)
    for file in (database, *(database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            restrict_database(file)


def _parse_address(address: str) -> URL:
    """The address, if it is one of the supported databases. Raises InvalidInputError without its password."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # their texts quote the address
        raise InvalidInputError(f"The database URL cannot be parsed; {URL_HELP}") from None
    if url.drivername not in {*_POSTGRESQL, *_SQLITE}:
        raise InvalidInputError(f"The database URL begins with {url.drivername!r}; {URL_HELP}")
    return url


def sqlite_path(address: str) -> Path | None:
    """The file of a SQLite address; None for any other address."""
    try:
        url = _parse_address(address)
    except InvalidInputError:
        return None
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def describe_database_error(error: Exception, address: str) -> str | None:
    """What is wrong with the database, in one line without its password; None for any other error."""
    if not isinstance(error, DBAPIError):
        return None
    where = describe_address(address)
    reason = mask_secrets(str(getattr(error, "orig", error)).strip().splitlines()[0])
    return f"The store at {where} cannot be used: {reason}. Check KUBEPROBE_DATABASE_URL, and that the database runs."


def is_rejection(error: Exception) -> bool:
    """Whether the database, or its driver, does not accept these values; else it may accept them later.

    An error that is neither of the database nor of a connection is one of converting values.
    """
    if isinstance(error, DBAPIError):
        return isinstance(error, (DataError, IntegrityError))
    return isinstance(error, StatementError) or not isinstance(error, (SQLAlchemyError, OSError))


def describe_address(address: str) -> str:
    """The address without credentials."""
    return mask_secrets(address)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Write-ahead log: readers and one writer at a time do not block each other."""
    connection.isolation_level = None  # the listener below begins transactions, not the driver
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def on_commit(session: Session, action: Callable[[], object]) -> None:
    """Call this once the session's transaction is committed; not at all if it is rolled back.

    An error of it is logged: the transaction is committed all the same.
    """

    def act(_session: Any) -> None:
        try:
            action()
        except Exception:
            log.exception("action after a commit failed")

    event.listen(session, "after_commit", act, once=True)


def insert_ignoring_conflicts(session: Session, table: type[SQLModel], rows: Sequence[dict[str, Any]] = ()) -> Insert:
    """An INSERT of rows that leaves out those whose unique key exists already (add `.returning(...)`).

    The unique key decides which transaction was first (promise 1), so a conflict is not an error. For many rows, build
    the statement without rows and pass them to `execute`: that is ten times cheaper, and split as a database's limit on
    parameters requires.
    """
    statement: Insert = _insert(session, table).on_conflict_do_nothing()
    return statement.values(list(rows)) if rows else statement


def _insert(session: Session, table: type[SQLModel]) -> Any:
    """The database's own INSERT, which has ON CONFLICT."""
    build = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return build(table.__table__)  # type: ignore[attr-defined]


def upsert(session: Session, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or update those whose primary key exists already. Every row has the same keys."""
    plain = table.__table__  # type: ignore[attr-defined]
    keys = [column.name for column in plain.primary_key]
    statement = _insert(session, table)
    values = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    statement = statement.on_conflict_do_update(index_elements=keys, set_=values)
    session.connection().execute(statement.returning(*plain.primary_key), rows)


def upsert_where(session: Session, table: type[SQLModel], row: dict[str, Any], condition: ColumnElement[bool]) -> bool:
    """Insert a row, or update that of its primary key where that meets a condition. Whether a row was written."""
    plain = table.__table__  # type: ignore[attr-defined]
    keys = [column.name for column in plain.primary_key]
    statement = _insert(session, table).values(row)
    values = {name: statement.excluded[name] for name in row if name not in keys}
    statement = statement.on_conflict_do_update(index_elements=keys, set_=values, where=condition)
    return session.execute(statement.returning(*plain.primary_key)).first() is not None


def delete_batch(
    session: Session, table: type[SQLModel], condition: ColumnElement[bool], limit: int = DELETED_AT_ONCE
) -> int:
    """Delete some of the rows that meet a condition; returns their number."""
    keys = list(table.__table__.primary_key)  # type: ignore[attr-defined]
    chosen = select(*keys).where(condition).limit(limit)
    deleted = session.execute(delete(table).where(tuple_(*keys).in_(chosen)).returning(*keys))
    return len(deleted.all())


def update_each(table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> CTE:
    """Rows of new values as a table that an UPDATE of `table` can take FROM: one statement for many rows.

    Use it as ``v = update_each(Run, rows)`` and ``update(Run).where(Run.id == v.c.id).values(pod=v.c.pod)``.
    Every row has the same keys, which are columns of `table`.
    """
    columns = table.__table__.c  # type: ignore[attr-defined]
    names = list(rows[0])
    # As text: its compilation is cached for the next statement of the same size. That of values() is never cached, and
    # takes longer than the rest of this function. Both databases name the columns of VALUES `column1`, `column2` ...
    listed = ", ".join(f'column{number} AS "{name}"' for number, name in enumerate(names, 1))
    places = ", ".join(f"({', '.join(f':given_{name}_{row}' for name in names)})" for row in range(len(rows)))
    # Bound with their column's type: PostgreSQL cannot infer the type of a NULL. The prefix avoids the names of
    # SQLAlchemy's own parameters (COLUMN_1).
    data = [
        bindparam(f"given_{name}_{number}", row[name], columns[name].type)
        for number, row in enumerate(rows)
        for name in names
    ]
    given = text(f"SELECT {listed} FROM (VALUES {places}) AS given_values").bindparams(*data)  # noqa: S608 - names of columns
    return given.columns(*(column(name, columns[name].type) for name in names)).cte("given")
