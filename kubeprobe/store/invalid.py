"""Rows of SQLite whose values are not of their column's type: PostgreSQL refuses these, SQLite stores any text.

Reading one raises ValueError, and stops the reading of all others. A caller to which that happens replaces them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, String, and_, case, delete, func, literal, null, or_, type_coerce, update
from sqlmodel import Session, SQLModel

from kubeprobe.store.types import UTCDateTime


def replace_invalid_times(
    session: Session, table: type[SQLModel], now: datetime, *where: ColumnElement[bool]
) -> list[Any]:
    """Replace the times that cannot be read: by NULL, or by `now` where it must not be NULL. Reads all rows.

    Returns the rows' keys; of a composite key, the first column.
    """
    if session.get_bind().dialect.name != "sqlite":
        return []
    plain = table.__table__  # type: ignore[attr-defined]
    times = [column for column in plain.c if isinstance(column.type, UTCDateTime)]
    invalid = {column.name: and_(column.is_not(None), ~_is_readable(column)) for column in times}
    values = {
        column.name: case(
            (invalid[column.name], null() if column.nullable else literal(now, UTCDateTime)), else_=column
        )
        for column in times
    }
    [key, *_] = plain.primary_key.columns
    replaced = update(table).where(*where, or_(*invalid.values())).values(values).returning(key)
    return list(session.scalars(replaced, execution_options={"synchronize_session": False}))


def delete_invalid_json(session: Session, table: type[SQLModel]) -> list[Any]:
    """Delete the rows of a cache whose JSON cannot be read; the last columns of their keys. Reads all rows."""
    if session.get_bind().dialect.name != "sqlite":
        return []
    plain = table.__table__  # type: ignore[attr-defined]
    texts = [type_coerce(column, String) for column in plain.c if isinstance(column.type, JSON)]
    [*_, key] = plain.primary_key.columns
    deleted = delete(table).where(or_(*(func.json_valid(text) == 0 for text in texts))).returning(key)
    return list(session.scalars(deleted, execution_options={"synchronize_session": False}))


def _is_readable(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """As SQLAlchemy writes it, `2026-01-31 12:00:00.000000`; SQLite's `datetime` moves the 31st of February."""
    stored = func.coalesce(type_coerce(column, String), "")
    day_and_time = func.coalesce(func.datetime(stored, "+0 days", type_=String), "")
    return and_(day_and_time == func.substr(stored, 1, 19, type_=String), func.length(stored).in_((19, 26)))
