"""The rows of a cluster's nodes: written by whoever watches it, and only what has changed."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update
from sqlmodel import Session, col

from kubeprobe.store import Cluster, Node, Store, upsert

if TYPE_CHECKING:
    from kubeprobe.execution.collect.nodes import NodeFacts

CHUNK = 1000


def replace_all(store: Store, cluster: str, nodes: "Iterable[NodeFacts]", now: datetime) -> list[str]:
    """Make the rows equal these nodes; gives the names of those that had a row and are no more."""
    with store.writing() as session:
        if not _note_listed(session, cluster, now):
            return []
        rows = _rows(session, cluster)
        listed = {node.name: node for node in nodes}
        _write(session, cluster, [node for name, node in listed.items() if rows.get(name) != asdict(node)], now)
        left = sorted(rows.keys() - listed.keys())
        _remove(session, cluster, left)
        return left


def change(store: Store, cluster: str, kept: "Sequence[NodeFacts]", left: Collection[str], now: datetime) -> None:
    """Write some nodes as they are now, and remove the rows of those that have left."""
    with store.writing() as session:
        if _note_listed(session, cluster, now):
            _write(session, cluster, kept, now)
            _remove(session, cluster, list(left))


def forget(store: Store, cluster: str, why: str) -> None:
    """Nothing is known of the nodes any more; triggers tell people why."""
    with store.writing() as session:
        session.execute(
            update(Cluster).where(col(Cluster.name) == cluster).values(nodes_listed_at=None, nodes_error=why)
        )
        session.execute(delete(Node).where(col(Node.cluster) == cluster))


def _note_listed(session: Session, cluster: str, now: datetime) -> bool:
    """False where no binding asks for the nodes any more: its collector has not heard so yet."""
    watched = (col(Cluster.name) == cluster, col(Cluster.watches_nodes).is_(other=True))
    note = update(Cluster).where(*watched).values(nodes_listed_at=now, nodes_error="")
    return session.execute(note.returning(col(Cluster.name))).first() is not None


def _rows(session: Session, cluster: str) -> dict[str, dict[str, Any]]:
    columns = (Node.name, Node.uid, Node.labels, Node.unschedulable, Node.ready, Node.created_at)
    found = session.execute(select(*map(col, columns)).where(col(Node.cluster) == cluster))
    return {row["name"]: dict(row) for row in found.mappings()}


def _write(session: Session, cluster: str, nodes: "Sequence[NodeFacts]", now: datetime) -> None:
    if nodes:
        upsert(session, Node, [{"cluster": cluster, **asdict(node), "seen_at": now} for node in nodes])


def _remove(session: Session, cluster: str, names: Sequence[str]) -> None:
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        session.execute(delete(Node).where(col(Node.cluster) == cluster, col(Node.name).in_(part)))
