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
from kubeprobe.fleet.labels import name_problem
from kubeprobe.settings import Settings
from kubeprobe.store import Change, Cluster, Trigger, insert_ignoring_conflicts
from kubeprobe.trigger.open import OpenedRun, Opening, check_id, open_runs


@dataclass(frozen=True)
class Told:
    """What came of telling a change. `new` is False where it had been told before with the same id."""

    change_id: str
    new: bool
    opened: list[OpenedRun]


def tell_change(session: Session, catalog: Catalog, change: Change, now: datetime, settings: Settings) -> Told:
    """Store the change and open a run for every case bound to its component, on the clusters that it touched.

    Told twice with the same id, it runs once. Cordoned clusters are left out. Raises NotFoundError for an unknown
    cluster, InvalidInputError for an id or a component that cannot be.
    """
    check_id(change.id, "a change")
    if problem := name_problem(change.component):
        raise InvalidInputError(f"component: {problem}")
    touched = [clusters.get(session, name) for name in change.clusters]
    row = insert_ignoring_conflicts(session, Change, [_row(change)]).returning(col(Change.id))
    new = bool(session.scalars(row).all())
    if not new:
        return Told(change.id, new=False, opened=[])
    openings = _openings(catalog, change, [c for c in touched if c.cordoned_at is None], now)
    return Told(change.id, new=True, opened=open_runs(session, openings, now, settings))


def _openings(catalog: Catalog, change: Change, touched: Sequence[Cluster], now: datetime) -> list[Opening]:
    return [
        Opening(
            slot=f"change/{change.id}/{name}/{case}/{cluster.name}",
            trigger=Trigger.CHANGE,
            case=case,
            cluster=cluster.name,
            pool=cluster.pool,
            due_at=now,
            binding=name,
            change_id=change.id,
        )
        for name, binding in catalog.bindings_on_change(change.component)
        for case in binding.cases
        for cluster in touched
        if binding.clusters.matches(cluster.name, cluster.labels)
    ]


def _row(change: Change) -> dict[str, Any]:
    return change.model_dump()
