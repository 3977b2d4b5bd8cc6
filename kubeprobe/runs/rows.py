"""Writing run and outcome rows, for the modules of this package."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    and_,
    case,
    select,
)
from sqlmodel import Session, col

from kubeprobe import metrics
from kubeprobe.backoff import Backoff
from kubeprobe.runs.verdicts import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Outcome, Run, insert_ignoring_conflicts, on_commit
from kubeprobe.vocabulary import RunState, Subject

DOUBLINGS = 4
"""The wait before the next message grows from `resend_after` to 16 times of it."""


@dataclass(frozen=True)
class ClosedRun:
    """The values of a run that its outcome repeats."""

    id: str
    case: str
    subject: Subject
    trigger: str
    due_at: datetime
    missed: int = 0
    """Slots that did not run and that its outcome counts."""
    created_at: datetime | None = None
    """When its pod was created."""
    clock_offset: timedelta = timedelta(0)
    """Of the cluster's clock."""


def insert_outcomes(session: Session, closed: Sequence[tuple[ClosedRun, Judgement]], now: datetime) -> None:
    """Store the outcomes of runs that this transaction has closed. Outcomes are inserted only here.

    An open run that has an outcome nevertheless keeps it: one such row must not stop the others.
    """
    if closed:
        adding = insert_ignoring_conflicts(session, Outcome).returning(col(Outcome.run_id))
        session.connection().execute(adding, [_outcome(run, judgement, now) for run, judgement in closed])
        on_commit(session, lambda: _measure(closed, now))


def next_wake(now: datetime, settings: Settings) -> ColumnElement[Any]:
    """When a run without a pod is sent to launchers again, by how often it was sent already (`Run.wakes`)."""
    backoff = Backoff(first=settings.resend_after, longest=settings.resend_after * 2**DOUBLINGS)
    waits = {wakes: now + backoff.pause(wakes + 1) for wakes in range(DOUBLINGS)}
    return case(waits, value=col(Run.wakes), else_=now + backoff.longest)


def in_id_order(ids: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition on the runs that an UPDATE writes: those with these ids (a list, or a SELECT), locked in id order.

    Rows that do not meet the further conditions are not locked. The common order prevents deadlocks. A transaction with
    several such statements locks all of their runs first (`lock_runs`).
    """
    locked = _in_id_order(ids, conditions).cte("locked")
    return and_(col(Run.id).in_(select(locked.c.id)), *conditions)


def lock_runs(session: Session, ids: Any) -> None:
    """Lock runs in id order, for a transaction that writes them by several statements."""
    session.execute(_in_id_order(ids, ()))


def _in_id_order(ids: Any, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    return select(col(Run.id)).where(col(Run.id).in_(ids), *conditions).order_by(col(Run.id)).with_for_update()


def still_claimed(given: CTE) -> tuple[ColumnElement[bool], ...]:
    """Of given runs, those that are still claimed with the given token: another launcher may have claimed one since."""
    return (
        in_id_order(select(given.c.id), col(Run.state) == RunState.LAUNCHING),
        col(Run.id) == given.c.id,
        col(Run.attempt) == given.c.attempt,
        col(Run.claim_token) == given.c.claim_token,
    )


def unshortened_expiry() -> ColumnElement[Any]:
    """`expires_at` of a run whose setback is resolved: it may wait as long as if there had been none."""
    return case((col(Run.launch_before) > col(Run.expires_at), col(Run.launch_before)), else_=col(Run.expires_at))


def _outcome(run: ClosedRun, found: Judgement, now: datetime) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "case": run.case,
        "cluster": run.subject.cluster,
        "trigger": run.trigger,
        "due_at": run.due_at,
        "verdict": found.verdict,
        "reason": found.reason,
        "message": found.message,
        "exit_code": found.exit_code,
        "report": found.report,
        "node": run.subject.node or found.node,
        "node_level": run.subject.is_node_level,
        "scheduled_at": found.scheduled_at,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "missed": run.missed,
        "stored_at": now,
    }


def _measure(closed: Sequence[tuple[ClosedRun, Judgement]], now: datetime) -> None:
    for run, found in closed:
        metrics.record_outcome(run.trigger, found.verdict, found.reason, run.missed)
        finished_at = found.finished_at and found.finished_at - run.clock_offset
        metrics.record_stored(now, run.created_at, finished_at)
