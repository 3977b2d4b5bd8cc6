"""Runs from changes: something happened to a component, so what is bound to it runs at once where it happened.

Next: the caller wakes launchers with what was opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col

from kubeprobe.catalog import Catalog
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.labels import name_problem, node_problem
from kubeprobe.runs import OpenedRun, Opening, check_id, open_runs, slot_of
from kubeprobe.settings import Settings
from kubeprobe.store import Change, Cluster, insert_ignoring_conflicts
from kubeprobe.trigger.nodes import KnownNodes, run_subjects
from kubeprobe.vocabulary import Trigger


@dataclass(frozen=True)
class Told:
    """What came of telling a change. `new` is False where it had been told before with the same id."""

    change_id: str
    new: bool
    opened: list[OpenedRun]


def record_change(session: Session, catalog: Catalog, change: Change, now: datetime, settings: Settings) -> Told:
    """Store the change and open a run for every case bound to its component, on the clusters that it touched.

    Told twice with the same id, it runs once. Cordoned clusters are left out. A binding with `nodes` runs on the node
    that changed, if it is among them; where no node is named, on a sample that begins at a node by the change's id.
    Raises NotFoundError for an unknown cluster, InvalidInputError for an id, a component or a node that cannot be.
    """
    check_id(change.id, "a change")
    if problem := name_problem(change.component):
        raise InvalidInputError(f"component: {problem}")
    touched = [clusters.get(session, name) for name in change.clusters]
    if change.node is not None:
        _check_node(change.node, touched)
    row = insert_ignoring_conflicts(session, Change, [_row(change)]).returning(col(Change.id))
    new = bool(session.scalars(row).all())
    if not new:
        return Told(change.id, new=False, opened=[])
    served = [c for c in touched if c.cordoned_at is None]
    nodes = KnownNodes.read(session, [c.name for c in served if c.watches_nodes])
    openings = _openings(catalog, change, served, nodes, now)
    return Told(change.id, new=True, opened=open_runs(session, openings, now, settings))


def _openings(
    catalog: Catalog, change: Change, touched: Sequence[Cluster], nodes: KnownNodes, now: datetime
) -> list[Opening]:
    return [
        Opening(
            slot=slot_of("change", change.id, name, case, found.subject),
            trigger=Trigger.CHANGE,
            case=case,
            subject=found.subject,
            pool=cluster.pool,
            due_at=now,
            binding=name,
            change_id=change.id,
            case_commit=catalog.commits.get(case),
            reason=found.reason,
            message=found.message,
        )
        for name, binding in catalog.bindings_on_change(change.component)
        for case in binding.cases
        for cluster in touched
        if binding.clusters.matches(cluster.name, cluster.labels)
        for found in run_subjects(nodes, binding, cluster.name, case, start=change.id, only=change.node)
    ]


def _check_node(node: str, touched: Sequence[Cluster]) -> None:
    if len(touched) != 1:
        raise InvalidInputError(f"Node {node!r} is of one cluster, and {len(touched)} are named; tell each by itself.")
    if problem := node_problem(node):
        raise InvalidInputError(f"node: {problem}")


def _row(change: Change) -> dict[str, Any]:
    return change.model_dump()
