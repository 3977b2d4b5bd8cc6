"""Every encrypted value of the store: connections of clusters and of pods' locations, and secrets of sources."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.fernet import InvalidToken
from sqlalchemy import Column, Table, select, update
from sqlmodel import Session, SQLModel

from kubeprobe.fleet.keys import Keyring
from kubeprobe.store import Cluster, PodLocation, Source, Store

BATCH = 100
"""Rows of one transaction: a connection with its certificates takes some kilobytes."""


class _Column(NamedTuple):
    model: type[SQLModel]
    name: str

    @property
    def table(self) -> Table:
        found: Table = self.model.__table__  # type: ignore[attr-defined]
        return found

    @property
    def key(self) -> Column[str]:
        return next(iter(self.table.primary_key))


COLUMNS = (
    _Column(Cluster, "connection"),
    _Column(PodLocation, "connection"),
    _Column(Source, "secret"),
)


@dataclass
class Sealed:
    """How many values are encrypted with which key."""

    current: int = 0
    """With the first key."""
    renewed: int = 0
    """With an older key before, and with the first key now."""
    unreadable: tuple[str, ...] = ()
    """`cluster NAME`, `pod_location ID` or `source NAME`: with a key that is missing."""


def sealed_values(session: Session) -> Iterator[bytes]:
    """All encrypted values."""
    for column in COLUMNS:
        sealed = column.table.c[column.name]
        yield from map(bytes, session.scalars(select(sealed).where(sealed.is_not(None))))


def renew_sealed(store: Store, read_keys: Callable[[], Keyring]) -> Sealed:
    """Encrypt with the first key what is encrypted with an older one.

    In short transactions, so that others go on: a value that one of them changes meanwhile stays, and is read again.
    """
    result = Sealed()
    for column in COLUMNS:
        for batch in _batches(store, column):
            rows = batch
            while rows:
                renewed = _renew(rows, read_keys(), column, result)
                rows = _read(store, column, _write(store, column, rows, renewed, result))
    return result


def _renew(rows: Mapping[str, bytes], keys: Keyring, column: _Column, result: Sealed) -> dict[str, bytes]:
    renewed = {}
    for name, sealed in rows.items():
        try:
            found = keys.renew(sealed)
        except InvalidToken:
            result.unreadable += (f"{column.table.name} {name}",)
            continue
        if found is None:
            result.current += 1
        else:
            renewed[name] = found
    return renewed


def _write(
    store: Store, column: _Column, rows: Mapping[str, bytes], renewed: Mapping[str, bytes], result: Sealed
) -> Sequence[str]:
    """Write new values in place of unchanged old ones; gives the names of the others."""
    if not renewed:
        return ()
    table, changed = column.table, []
    with store.writing() as session:
        for name, sealed in renewed.items():
            values = {column.name: sealed}
            unchanged = update(table).where(column.key == name, table.c[column.name] == rows[name])
            if session.execute(unchanged.values(values).returning(column.key)).first() is None:
                changed.append(name)
    result.renewed += len(renewed) - len(changed)
    return changed


def _batches(store: Store, column: _Column) -> Iterator[Mapping[str, bytes]]:
    """All values, in the order of their names, as every transaction that locks several."""
    table, last = column.table, ""
    query = select(column.key, table.c[column.name]).where(table.c[column.name].is_not(None))
    while True:
        with store.reading() as session:
            found = session.execute(query.where(column.key > last).order_by(column.key).limit(BATCH)).all()
        rows = {str(name): bytes(sealed) for name, sealed in found}
        yield rows
        if len(rows) < BATCH:
            return
        last = next(reversed(rows))


def _read(store: Store, column: _Column, names: Sequence[str]) -> Mapping[str, bytes]:
    if not names:
        return {}
    table = column.table
    query = select(column.key, table.c[column.name]).where(column.key.in_(names), table.c[column.name].is_not(None))
    with store.reading() as session:
        return {str(name): bytes(sealed) for name, sealed in session.execute(query.order_by(column.key))}
