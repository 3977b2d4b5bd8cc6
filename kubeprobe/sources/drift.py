"""Drift: entries of a source that people changed by hand since it was applied."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import Session, col, select

from kubeprobe.catalog.changes import StoredItem, digest_of, stored_items
from kubeprobe.catalog.snapshot import paused_by_hand
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Schedule, Source


@dataclass(frozen=True)
class Drift(JsonModel):
    """One entry that differs from its source."""

    kind: str
    name: str
    what: str
    """A description, such as `changed by hand`."""
    is_fixed_by_sync: bool
    """Whether applying the source again removes the difference. A pause stays: it is operation, not configuration."""


def find_drift(session: Session, source: Source) -> list[Drift]:
    """All drift of a source, ordered by kind and name."""
    stored = stored_items(session)
    found = [
        *_changed(source, stored),
        *_undeclared(source, stored),
        *_paused(session, source, stored),
    ]
    return sorted(found, key=lambda drift: (drift.kind, drift.name))


def _changed(source: Source, stored: dict[tuple[str, str], StoredItem]) -> Iterator[Drift]:
    for key, digest in source.declared.items():
        kind, _, name = key.partition("/")
        item = stored.get((kind, name))
        if item is None or item.by_hand:
            yield Drift(kind, name, "removed by hand", is_fixed_by_sync=True)
        elif digest_of(item.spec) != digest:
            what = f"changed by hand ({item.origin})" if item.origin else "changed by hand"
            yield Drift(kind, name, what, is_fixed_by_sync=True)


def _undeclared(source: Source, stored: dict[tuple[str, str], StoredItem]) -> Iterator[Drift]:
    for (kind, name), item in stored.items():
        if item.source == source.name and f"{kind}/{name}" not in source.declared:
            yield Drift(kind, name, "kept, though no longer declared", is_fixed_by_sync=source.prune)


def _paused(session: Session, source: Source, stored: dict[tuple[str, str], StoredItem]) -> Iterator[Drift]:
    whole = paused_by_hand(session)
    for name in sorted(whole):
        if f"Binding/{name}" in source.declared:
            yield Drift("Binding", name, "paused by hand", is_fixed_by_sync=False)
    columns = (col(Schedule.binding), col(Schedule.cluster))
    partly = select(*columns).where(col(Schedule.paused_at).is_not(None)).distinct()
    for binding, cluster in session.execute(partly.order_by(*columns)):
        item = stored.get(("Binding", binding))
        is_whole = binding in whole or (item is not None and item.spec.get("paused"))
        if f"Binding/{binding}" in source.declared and not is_whole:
            yield Drift("Binding", binding, f"paused by hand on {cluster}", is_fixed_by_sync=False)
