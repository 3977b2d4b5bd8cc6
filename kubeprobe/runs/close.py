"""Closes runs: any observation of a run's end becomes its outcome, in groups, each exactly once.

Before it: a collector has judged a pod, the API server rejected one, a deadline has passed, a newer slot replaces the
run. Next: the caller commits, deletes pods and wakes a responder. A compare-and-set on the run's state and attempt
decides (promise 1): a late observation of an old run or attempt changes nothing (failure mode 7).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, or_, update
from sqlmodel import Session, col, select

from kubeprobe.runs.open import OpenedRun
from kubeprobe.runs.rows import ClosedRun, in_id_order, insert_outcomes, lock_runs
from kubeprobe.runs.verdicts import RETRIED, Judgement
from kubeprobe.store import Run, is_open, subject_of_run, update_each
from kubeprobe.vocabulary import Reason, RunState, Verdict

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ending:
    """What was observed of one attempt of a run. `pod` and its times are None if no pod was created."""

    run_id: str
    judgement: Judgement
    attempt: int | None = None
    """None: the current attempt, whatever its number (a deadline passed, the cluster was removed)."""
    retries: int = 0
    pod: str | None = None
    pod_uid: str | None = None
    created_at: datetime | None = None
    clock_offset: timedelta = timedelta(0)
    """Of the cluster's clock, which the judgement's times are of."""
    claim_token: str | None = None
    """Of a launcher's result: it counts only while the run's claim is still that one."""

    def is_retried(self) -> bool:
        """The cluster removed the pod and attempts are left."""
        return self.attempt is not None and self.attempt <= self.retries and self.judgement.reason in RETRIED


def close(session: Session, endings: Sequence[Ending], now: datetime) -> list[str]:
    """Store the outcomes of the runs that are still open, and return their ids.

    Runs that are retried go back to pending; their ids are not returned.
    """
    final = {e.run_id: e for e in reversed(endings) if not e.is_retried()}  # the first observation counts
    retried = {e.run_id: e for e in reversed(endings) if e.is_retried()}
    if final and retried:
        lock_runs(session, [*final, *retried])
    _retry(session, retried.values(), now)
    if not final:
        return []
    closed = session.execute(_close(list(final.values())), execution_options={"synchronize_session": False}).all()
    ended = [(_closed(row, final[row.id].clock_offset), final[row.id].judgement) for row in closed]
    insert_outcomes(session, ended, now)
    if late := final.keys() - {row.id for row in closed}:
        log.info("late observations ignored; runs closed already", runs=sorted(late))
    return [row.id for row in closed]


def close_waiting(session: Session, run_ids: Sequence[str], reason: Reason, message: str, now: datetime) -> None:
    """Close those of the runs that are still pending, as unknown."""
    waiting = (
        select(Run.id, Run.attempt)
        .where(col(Run.id).in_(run_ids), Run.state == RunState.PENDING)
        .order_by(col(Run.id))
        .with_for_update()
    )
    found = Judgement(Verdict.UNKNOWN, reason, message)
    close(session, [Ending(run_id, found, attempt=attempt) for run_id, attempt in session.exec(waiting)], now)


def replace_runs(session: Session, run_ids: Sequence[str], now: datetime) -> list[OpenedRun]:
    """Close runs that a newer slot replaces (`concurrency: replace`); their pods are to be removed after the commit."""
    if not run_ids:
        return []
    replaced = session.execute(
        update(Run)
        .where(in_id_order(run_ids, is_open()))
        .values(state=RunState.DONE)
        .returning(*_CLOSED, col(Run.slot), col(Run.pool)),
        execution_options={"synchronize_session": False},
    ).all()
    found = Judgement(Verdict.UNKNOWN, Reason.REPLACED, "A newer slot replaced it (concurrency: replace).")
    insert_outcomes(session, [(_closed(run), found) for run in replaced], now)
    return [OpenedRun(run.id, run.slot, subject_of_run(run.cluster, run.node), run.pool, run.case) for run in replaced]


_CLOSED = tuple(
    col(column) for column in (Run.id, Run.case, Run.cluster, Run.node, Run.trigger, Run.due_at, Run.created_at)
)


def _closed(row: Any, clock_offset: timedelta = timedelta(0)) -> ClosedRun:
    subject, created_at = subject_of_run(row.cluster, row.node), row.created_at
    values = {"created_at": created_at, "clock_offset": clock_offset}
    return ClosedRun(row.id, row.case, subject, row.trigger, row.due_at, **values)


def _close(endings: Sequence[Ending]) -> Any:
    """One statement that closes the runs that are still open, and returns them."""
    given = update_each(
        Run,
        [
            {
                "id": e.run_id,
                "attempt": e.attempt,
                "claim_token": e.claim_token,
                "pod": e.pod,
                "pod_uid": e.pod_uid,
                "created_at": e.created_at,
            }
            for e in endings
        ],
    )
    return (
        update(Run)
        .where(
            in_id_order(select(given.c.id), col(Run.state) != RunState.DONE),
            col(Run.id) == given.c.id,
            col(Run.attempt) == func.coalesce(given.c.attempt, col(Run.attempt)),
            or_(given.c.claim_token.is_(None), col(Run.claim_token) == given.c.claim_token),
        )
        .values(
            state=RunState.DONE,
            pod=func.coalesce(col(Run.pod), given.c.pod),
            pod_uid=func.coalesce(col(Run.pod_uid), given.c.pod_uid),
            created_at=func.coalesce(col(Run.created_at), given.c.created_at),
        )
        .returning(*_CLOSED)
    )


def _retry(session: Session, endings: Collection[Ending], now: datetime) -> None:
    """Back to pending with a new attempt; its pod has a new name."""
    if not endings:
        return
    given = update_each(
        Run,
        [
            {
                "id": e.run_id,
                "attempt": e.attempt,
                "setback": e.judgement.reason,
                "setback_message": e.judgement.message,
            }
            for e in endings
        ],
    )
    session.execute(
        update(Run)
        .where(
            in_id_order(select(given.c.id), col(Run.state) != RunState.DONE),
            col(Run.id) == given.c.id,
            col(Run.attempt) == given.c.attempt,
        )
        .values(
            state=RunState.PENDING,
            attempt=col(Run.attempt) + 1,
            pod=None,
            pod_uid=None,
            wakes=0,
            wake_at=now,
            launch_at=now,
            setback=given.c.setback,
            setback_message=given.c.setback_message,
        ),
        execution_options={"synchronize_session": False},
    )
