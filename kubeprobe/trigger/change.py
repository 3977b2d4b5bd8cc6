"""Runs from changes: when a component changed on clusters, the cases bound to it run there at once.

Next: the caller commits and wakes launchers for the opened runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlmodel import Session, col

from kubeprobe.catalog import Catalog
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.labels import name_problem, node_problem
from kubeprobe.runs import OpenedRun, Opening, check_id, open_runs, slot_of
from kubeprobe.settings import Settings
from kubeprobe.store import Change, Cluster, Store, delete_batch, insert_ignoring_conflicts
from kubeprobe.trigger.nodes import KnownNodes, run_subjects
from kubeprobe.vocabulary import Trigger

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RecordedChange:
    """The result of recording a change. `new` is False if a change with this id had been recorded before."""

    change_id: str
    new: bool
    opened: list[OpenedRun]


def delete_old_changes(store: Store, before: datetime) -> int:
    """Delete a batch of the changes that happened earlier; returns its size."""
    with store.writing() as session:
        return delete_batch(session, Change, col(Change.happened_at) < before)


def record_change(
    session: Session, catalog: Catalog, change: Change, now: datetime, settings: Settings
) -> RecordedChange:
    """Store the change and open a run for every case bound to its component, on the clusters of the change.

    Its id is an idempotency key: a repeated id opens no new runs. Cordoned clusters are left out. A binding with
    `nodes` runs on the node that changed, if it matches; if the change names no node, on a sample that starts at a hash
    of the change's id.
    Raises NotFoundError for an unknown cluster, InvalidInputError for an invalid id, component or node.
    """
    check_id(change.id, "a change")
    if problem := name_problem(change.component):
        raise InvalidInputError(f"component: {problem}")
    affected = [clusters.get(session, name) for name in change.clusters]
    if change.node is not None:
        _check_node(change.node, affected)
    row = insert_ignoring_conflicts(session, Change, [_row(change)]).returning(col(Change.id))
    new = bool(session.scalars(row).all())
    if not new:
        return RecordedChange(change.id, new=False, opened=[])
    served = [c for c in affected if c.cordoned_at is None]
    nodes = KnownNodes.read(session, [c.name for c in served if c.watches_nodes])
    for name, entry in catalog.unreadable_of("Binding").items():
        if not entry.lacks("on", "change"):
            log.warning("change not handled by unreadable binding", binding=name, change=change.id, error=entry.message)
    openings = _openings(catalog, change, served, nodes, now)
    return RecordedChange(change.id, new=True, opened=open_runs(session, openings, now, settings))


def _openings(
    catalog: Catalog, change: Change, affected: Sequence[Cluster], nodes: KnownNodes, now: datetime
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
        for cluster in affected
        if binding.clusters.matches(cluster.name, cluster.labels)
        for found in run_subjects(nodes, binding, cluster.name, case, start=change.id, only=change.node)
    ]


def _check_node(node: str, affected: Sequence[Cluster]) -> None:
    if len(affected) != 1:
        raise InvalidInputError(
            f"A change of node {node!r} concerns one cluster, but {len(affected)} are named; record one for each."
        )
    if problem := node_problem(node):
        raise InvalidInputError(f"node: {problem}")


def _row(change: Change) -> dict[str, Any]:
    return change.model_dump()
