"""Drift: what people changed by hand of what a source declares, since it was applied."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import Session, col, select

from kubeprobe.catalog.changes import Stored, digest_of, stored_items
from kubeprobe.catalog.snapshot import paused_by_hand
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Schedule, Source


@dataclass(frozen=True)
class Drift(JsonModel):
    """One entry that is not as its source says."""

    kind: str
    name: str
    what: str
    """In words, such as `changed by hand`."""
    is_mended: bool
    """Whether applying the source again puts it right. A pause is kept: it is operation, not configuration."""


def find_drift(session: Session, source: Source) -> list[Drift]:
    """All drift of a source, in the order of its entries."""
    stored = stored_items(session)
    found = [
        *_changed(source, stored),
        *_undeclared(source, stored),
        *_paused(session, source, stored),
    ]
    return sorted(found, key=lambda drift: (drift.kind, drift.name))


def _changed(source: Source, stored: dict[tuple[str, str], Stored]) -> Iterator[Drift]:
    for key, digest in source.declared.items():
        kind, _, name = key.partition("/")
        item = stored.get((kind, name))
        if item is None or item.by_hand:
            yield Drift(kind, name, "removed by hand", is_mended=True)
        elif digest_of(item.spec) != digest:
            what = f"changed by hand ({item.origin})" if item.origin else "changed by hand"
            yield Drift(kind, name, what, is_mended=True)


def _undeclared(source: Source, stored: dict[tuple[str, str], Stored]) -> Iterator[Drift]:
    for (kind, name), item in stored.items():
        if item.source == source.name and f"{kind}/{name}" not in source.declared:
            yield Drift(kind, name, "kept, though no longer declared", is_mended=source.prune)


def _paused(session: Session, source: Source, stored: dict[tuple[str, str], Stored]) -> Iterator[Drift]:
    whole = paused_by_hand(session)
    for name in sorted(whole):
        if f"Binding/{name}" in source.declared:
            yield Drift("Binding", name, "paused by hand", is_mended=False)
    columns = (col(Schedule.binding), col(Schedule.cluster))
    partly = select(*columns).where(col(Schedule.paused_at).is_not(None)).distinct()
    for binding, cluster in session.execute(partly.order_by(*columns)):
        item = stored.get(("Binding", binding))
        is_whole = binding in whole or (item is not None and item.spec.get("paused"))
        if f"Binding/{binding}" in source.declared and not is_whole:
            yield Drift("Binding", binding, f"paused by hand on {cluster}", is_mended=False)
