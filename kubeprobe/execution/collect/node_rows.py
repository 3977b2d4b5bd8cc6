"""The rows of a cluster's nodes: written by its collector, and only on changes."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import delete, select, update
from sqlmodel import Session, col

from kubeprobe.store import Cluster, Node, Store, upsert

CHUNK = 1000


@dataclass(frozen=True)
class NodeFacts:
    """The fields of a node that nodes are selected by."""

    name: str
    uid: str
    labels: dict[str, str]
    unschedulable: bool
    ready: bool
    created_at: datetime

    @classmethod
    def read(cls, node: dict[str, Any]) -> Self:
        """Parse a Node of the API."""
        metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            labels=metadata.get("labels") or {},
            unschedulable=bool(spec.get("unschedulable")),
            ready=conditions.get("Ready") == "True",
            created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        )


def replace_all(
    store: Store, cluster: str, nodes: Iterable[NodeFacts], now: datetime, kept: Collection[str] = ()
) -> list[str]:
    """Make the rows equal these nodes; those of `kept` stay as they are. Returns the names of the removed rows."""
    with store.writing() as session:
        if not _record_list(session, cluster, now):
            return []
        rows = _rows(session, cluster)
        listed = {node.name: node for node in nodes}
        _write(session, cluster, [node for name, node in listed.items() if rows.get(name) != asdict(node)], now)
        left = sorted(rows.keys() - listed.keys() - set(kept))
        _remove(session, cluster, left)
        return left


def update_some(store: Store, cluster: str, kept: Sequence[NodeFacts], left: Collection[str], now: datetime) -> None:
    """Write the rows of changed nodes, and delete those of nodes that have left."""
    with store.writing() as session:
        if _record_list(session, cluster, now):
            _write(session, cluster, kept, now)
            _remove(session, cluster, list(left))


def clear(store: Store, cluster: str, error: str) -> None:
    """Delete the rows and store why: triggers report it."""
    with store.writing() as session:
        session.execute(
            update(Cluster).where(col(Cluster.name) == cluster).values(nodes_listed_at=None, nodes_error=error)
        )
        session.execute(delete(Node).where(col(Node.cluster) == cluster))


def _record_list(session: Session, cluster: str, now: datetime) -> bool:
    """False if no binding has `nodes` any more, and the collector has not noticed yet."""
    watched = (col(Cluster.name) == cluster, col(Cluster.watches_nodes).is_(other=True))
    note = update(Cluster).where(*watched).values(nodes_listed_at=now, nodes_error="")
    return session.execute(note.returning(col(Cluster.name))).first() is not None


def _rows(session: Session, cluster: str) -> dict[str, dict[str, Any]]:
    columns = (Node.name, Node.uid, Node.labels, Node.unschedulable, Node.ready, Node.created_at)
    found = session.execute(select(*map(col, columns)).where(col(Node.cluster) == cluster))
    return {row["name"]: dict(row) for row in found.mappings()}


def _write(session: Session, cluster: str, nodes: Sequence[NodeFacts], now: datetime) -> None:
    if nodes:
        upsert(session, Node, [{"cluster": cluster, **asdict(node), "seen_at": now} for node in nodes])


def _remove(session: Session, cluster: str, names: Sequence[str]) -> None:
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        session.execute(delete(Node).where(col(Node.cluster) == cluster, col(Node.name).in_(part)))
