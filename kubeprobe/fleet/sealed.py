"""Every encrypted value of the store: connections of clusters, and secrets of sources."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Column, Table, select, update
from sqlmodel import Session, SQLModel

from kubeprobe.fleet.credentials import Cipher, SecretKeyError
from kubeprobe.store import Cluster, PodLocation, Source

COLUMNS: tuple[tuple[type[SQLModel], str], ...] = (
    (Cluster, "connection"),
    (PodLocation, "connection"),
    (Source, "secret"),
)
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
    """`cluster NAME`, `source NAME` or `pod_location ID`: with a key that is missing."""


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
            session.execute(update(table).where(_key(table) == name).values({column: found}))
            renewed += 1
    return Sealed(current, renewed, tuple(unreadable))


def _key(table: Table) -> Column[str]:
    return next(iter(table.primary_key))


def _rows(session: Session, table: Table, column: str) -> Iterator[tuple[str, bytes]]:
    """In the order of their names, as every transaction that locks several."""
    last = ""
    while True:
        query = select(_key(table), table.c[column]).where(_key(table) > last, table.c[column].is_not(None))
        rows = session.execute(query.order_by(_key(table)).limit(BATCH).with_for_update()).all()
        yield from ((name, sealed) for name, sealed in rows)
        if len(rows) < BATCH:
            return
        last = rows[-1][0]
