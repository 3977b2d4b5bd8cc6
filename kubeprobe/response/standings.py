"""Reading and writing standings, a batch at a time."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import insert, select, update
from sqlmodel import Session, col

from kubeprobe.response.fold import Standing
from kubeprobe.response.outcomes import StandingKey, has_key
from kubeprobe.store import Standing as StandingRow


def read_standings(session: Session, keys: AbstractSet[StandingKey]) -> dict[StandingKey, Standing]:
    """The standings with these keys, locked until the transaction ends. Open alerts are not filled in."""
    row = StandingRow
    statement = (
        select(row.cluster, row.case, row.node, row.verdict, row.since, row.fails, row.unknowns, row.due_at, row.run_id)  # type: ignore[call-overload]
        .where(has_key(keys, row.cluster, row.case, row.node))
        .order_by(col(row.cluster), col(row.case), col(row.node))
        .with_for_update()
    )
    return {
        StandingKey.from_columns(cluster, case, node): Standing(*values)
        for cluster, case, node, *values in session.execute(statement)
    }


def write_standings(
    session: Session, before: Mapping[StandingKey, Standing], after: Mapping[StandingKey, Standing]
) -> None:
    """Write those that changed in anything but the newest run and its due time; one statement for each kind of write.

    Raises IntegrityError when another responder was first with a standing that is new here.
    """
    new = [_row(key, standing) for key, standing in after.items() if key not in before]
    changed = [
        _row(key, standing)
        for key, standing in after.items()
        if key in before and _counted(standing) != _counted(before[key])
    ]
    if new:
        session.execute(insert(StandingRow), new)
    if changed:
        session.execute(update(StandingRow), changed)


def _counted(standing: Standing) -> tuple[Any, ...]:
    return standing.verdict, standing.since, standing.fails, standing.unknowns


def _row(key: StandingKey, standing: Standing) -> dict[str, Any]:
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
