"""Reads and writes standings, a batch at a time."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import insert, select, update
from sqlmodel import Session, col

from kubeprobe.response.fold import StandingState
from kubeprobe.response.outcomes import StandingKey, has_key, locking_order
from kubeprobe.store import Standing


def read_standings(session: Session, keys: AbstractSet[StandingKey]) -> dict[StandingKey, StandingState]:
    """The standings with these keys, locked until the transaction ends. Without their open alerts."""
    row = Standing
    statement = (
        select(row.cluster, row.case, row.node, row.verdict, row.since, row.fails, row.unknowns, row.due_at, row.run_id)  # type: ignore[call-overload]
        .where(has_key(keys, row.cluster, row.case, row.node))
        .order_by(col(row.cluster), col(row.case), col(row.node))
        .with_for_update()
    )
    return {
        StandingKey.from_columns(cluster, case, node): StandingState(*values)
        for cluster, case, node, *values in session.execute(statement)
    }


def lock_standings(session: Session, keys: AbstractSet[StandingKey]) -> None:
    """Lock the standings with these keys until the transaction ends, whatever their other columns hold."""
    key = (col(Standing.cluster), col(Standing.case), col(Standing.node))
    session.execute(select(*key).where(has_key(keys, *key)).order_by(*key).with_for_update()).all()


def write_standings(
    session: Session, before: Mapping[StandingKey, StandingState], after: Mapping[StandingKey, StandingState]
) -> None:
    """Write the standings that changed in more than their newest run and its due time: one INSERT and one UPDATE.

    Raises IntegrityError when another responder was first to insert a standing.
    """
    new = [_row(key, after[key]) for key in sorted(after.keys() - before.keys(), key=locking_order)]
    changed = [
        _row(key, standing)
        for key, standing in after.items()
        if key in before and _counted(standing) != _counted(before[key])
    ]
    if new:
        session.execute(insert(Standing), new)
    if changed:
        session.execute(update(Standing), changed)


def _counted(standing: StandingState) -> tuple[Any, ...]:
    return standing.verdict, standing.since, standing.fails, standing.unknowns


def _row(key: StandingKey, standing: StandingState) -> dict[str, Any]:
    return {
        "cluster": key.subject.cluster,
        "case": key.case,
        "node": key.subject.node_key,
        "verdict": standing.verdict,
        "since": standing.since,
        "fails": standing.fails,
        "unknowns": standing.unknowns,
        "due_at": standing.due_at,
        "run_id": standing.run_id,
    }
