"""What a declaration would change in the store, item by item and field by field."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from sqlalchemy import select
from sqlmodel import Session

from kubeprobe.catalog.model import DOCUMENTS, ClusterSpec
from kubeprobe.catalog.parse import Declaration, Entry
from kubeprobe.catalog.snapshot import read_stored
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.masking import mask_secrets
from kubeprobe.store import AlertRoute, Binding, Cluster, ProbeCase, ProbeTemplate, RenderConfig

Table = type[ProbeTemplate] | type[ProbeCase] | type[RenderConfig] | type[Binding] | type[AlertRoute]
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "ProbeTemplate": ProbeTemplate,
        "ProbeCase": ProbeCase,
        "RenderConfig": RenderConfig,
        "Binding": Binding,
        "AlertRoute": AlertRoute,
    }
)
"""Kinds whose spec is stored as it was declared; a Cluster has columns of its own."""


class Action(StrEnum):
    """What an apply does with an entry."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    """In the store but no longer declared; `--prune` would remove it."""


@dataclass(frozen=True)
class FieldChange(JsonModel):
    """One field, such as `spec.on.periodic.every`; None: absent, that is at its default."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ItemChange(JsonModel):
    """What an apply does with one entry."""

    kind: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    origin: str = ""
    """File and line."""


def digest_of(spec: Mapping[str, Any]) -> str:
    """SHA-256 of a spec's canonical JSON."""
    return hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()


class StoredItem(NamedTuple):
    """An entry as the store has it."""

    spec: dict[str, Any]
    origin: str = ""
    source: str | None = None
    """The source that owns it; None: no source."""
    by_hand: bool = False
    """A cluster added by `kubeprobe cluster add`: declaring it takes it over, but it is never pruned."""


def stored_items(session: Session) -> dict[tuple[str, str], StoredItem]:
    """All entries in the store, by kind and name."""
    found: dict[tuple[str, str], StoredItem] = {}
    for kind, table in TABLES.items():
        columns = table.__table__.c  # type: ignore[union-attr]  # SQLModel declares no type for it
        for name, spec, origin, source in session.execute(
            select(columns.name, columns.spec, columns.origin, columns.source)
        ):
            found[kind, name] = StoredItem(spec if isinstance(spec, dict) else {}, origin, source)
    for cluster in session.execute(select(Cluster)).scalars():
        spec = {} if cluster.spec is None else _effective_spec(cluster, cluster.spec)
        found["Cluster", cluster.name] = StoredItem(spec, source=cluster.source, by_hand=cluster.spec is None)
    return found


def _effective_spec(cluster: Cluster, declared: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster's declared spec with the current labels, pool, namespace and limits, which people change too."""
    spec = read_stored(ClusterSpec, declared)
    if spec is None:  # of another version: declaring the cluster again replaces it
        return dict(declared) if isinstance(declared, dict) else {}
    limits = spec.limits.model_copy(update={"pods": cluster.max_in_flight})
    current = {"labels": cluster.labels, "pool": cluster.pool, "namespace": cluster.namespace, "limits": limits}
    return spec.model_copy(update=current).as_json()


def compare(
    stored: Mapping[tuple[str, str], StoredItem], declaration: Declaration, source: str | None, *, prune: bool
) -> list[ItemChange]:
    """What applying a declaration of `source` (None: a person) would do, ordered by kind, then by name.

    Entries that it does not declare are included only if they have the same owner.
    """
    changes = [_change_of(entry, stored.get(key), source) for key, entry in declaration.entries.items()]
    for (kind, name), item in stored.items():
        if (kind, name) not in declaration.entries and not item.by_hand and item.source == source:
            changes.append(ItemChange(kind, name, Action.REMOVED if prune else Action.KEPT, (), item.origin))
    order = list(DOCUMENTS)
    return sorted(changes, key=lambda change: (order.index(change.kind), change.name))


def _change_of(entry: Entry, stored: StoredItem | None, source: str | None) -> ItemChange:
    if stored is None:
        return ItemChange(entry.kind, entry.name, Action.ADDED, (), entry.origin)
    fields = tuple(_differences(stored.spec, entry.spec.as_json(), "spec"))
    if source is not None and stored.source is None:
        fields += (FieldChange("owner", None, f"source {source}"),)
    action = Action.CHANGED if fields else Action.UNCHANGED
    return ItemChange(entry.kind, entry.name, action, fields, entry.origin)


def _differences(before: Any, after: Any, path: str) -> Iterator[FieldChange]:
    """The fields that differ; lists are compared as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for field in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(field), after.get(field), f"{path}.{field}")
    elif before != after:
        yield FieldChange(path, _masked(before), _masked(after))


def _masked(value: Any) -> Any:
    """The value without credentials, which addresses of targets may hold."""
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value
