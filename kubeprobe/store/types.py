"""Column types with the same behaviour on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

JSONColumn = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class SpecColumn(TypeDecorator[Any]):
    """JSON of a spec; text that is not JSON (a row that was cut, which SQLite allows) is given as it is.

    Its readers validate it, and set aside what is not a mapping, so that one such row stops no other.
    """

    impl = JSONColumn
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """As JSON does, but for text that is not JSON."""
        read = super().result_processor(dialect, coltype)

        def read_or_keep(value: Any) -> Any:
            try:
                return value if read is None else read(value)
            except ValueError:
                return value

        return read_or_keep


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time, always UTC. SQLite stores no time zone, so it is removed and added here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a naive time: its instant is ambiguous."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; pass an aware time, e.g. datetime.now(UTC)")
        moved = value.astimezone(UTC)
        return moved.replace(tzinfo=None) if dialect.name == "sqlite" else moved

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """An aware UTC time."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class database_now(FunctionElement[datetime]):  # noqa: N801 -- an SQL function
    """SQL: the database's time at this moment, not that of the transaction's start."""

    type = UTCDateTime()
    inherit_cache = True
    name = "database_now"


@compiles(database_now, "postgresql")
def _postgresql_now(_element: Any, _compiler: Any, **_: Any) -> str:
    return "clock_timestamp()"


@compiles(database_now, "sqlite")
def _sqlite_now(_element: Any, _compiler: Any, **_: Any) -> str:
    """As SQLAlchemy stores times: text, with six digits of a second."""
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"
