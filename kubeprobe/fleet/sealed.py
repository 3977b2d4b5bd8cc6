"""Every encrypted value of the store: connections of clusters, and secrets of sources."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Table, select, update
from sqlmodel import Session, SQLModel

from kubeprobe.fleet.credentials import Cipher, SecretKeyError
from kubeprobe.store import Cluster, Source

COLUMNS: tuple[tuple[type[SQLModel], str], ...] = ((Cluster, "connection"), (Source, "secret"))
BATCH = 500
"""Rows that are read at a time: a connection with its certificates takes some kilobytes."""


@dataclass(frozen=True)
class Sealed:
    """How many values are encrypted with which key."""

    current: int = 0
    """With the first key."""
    renewed: int = 0
    """With an older key before, and with the first key now."""
    unreadable: tuple[str, ...] = ()
    """`cluster NAME` or `source NAME`: with a key that is missing."""


def renew_sealed(session: Session, cipher: Cipher) -> Sealed:
    """Encrypt with the first key what is encrypted with an older one. Locks each row that it reads."""
    current, renewed, unreadable = 0, 0, []
    for model, column in COLUMNS:
        table: Table = model.__table__  # type: ignore[attr-defined]
        for name, sealed in _rows(session, table, column):
            try:
                found = cipher.renew(sealed)
            except SecretKeyError:
                unreadable.append(f"{table.name} {name}")
                continue
            if found is None:
                current += 1
                continue
            session.execute(update(table).where(table.c.name == name).values({column: found}))
            renewed += 1
    return Sealed(current, renewed, tuple(unreadable))


def _rows(session: Session, table: Table, column: str) -> Iterator[tuple[str, bytes]]:
    """In the order of their names, as every transaction that locks several."""
    last = ""
    while True:
        query = select(table.c.name, table.c[column]).where(table.c.name > last, table.c[column].is_not(None))
        rows = session.execute(query.order_by(table.c.name).limit(BATCH).with_for_update()).all()
        yield from ((name, sealed) for name, sealed in rows)
        if len(rows) < BATCH:
            return
        last = rows[-1][0]
