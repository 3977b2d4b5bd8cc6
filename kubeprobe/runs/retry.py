"""Postpones runs and resends them: temporary errors, open breakers, lost messages, dead launchers (promise 2).

Next: the caller commits and wakes launchers for the runs that are resent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, update
from sqlmodel import Session, col, select

from kubeprobe.runs.open import OpenedRun
from kubeprobe.runs.rows import in_id_order, next_wake, still_claimed, unshortened_expiry
from kubeprobe.settings import Settings
from kubeprobe.store import Run, Store, awaits_pod, subject_of_run, update_each
from kubeprobe.vocabulary import Reason, RunState

BATCH = 1000


@dataclass(frozen=True)
class Setback:
    """A temporary error that postpones a claimed run until `until`. Kept for the outcome, in case the run expires."""

    run_id: str
    attempt: int
    claim_token: str | None
    until: datetime
    reason: Reason
    message: str


def put_off(session: Session, setbacks: Sequence[Setback], now: datetime, settings: Settings) -> None:
    """Claimed runs go back to pending until their back-off is over."""
    if not setbacks:
        return
    given = update_each(
        Run,
        [
            {
                "id": setback.run_id,
                "attempt": setback.attempt,
                "claim_token": setback.claim_token,
                "launch_at": setback.until,
                "setback": setback.reason,
                "setback_message": setback.message,
            }
            for setback in setbacks
        ],
    )
    session.execute(
        update(Run)
        .where(*still_claimed(given))
        .values(
            state=RunState.PENDING,
            launch_at=given.c.launch_at,
            wake_at=given.c.launch_at,
            held=False,
            expires_at=_expires_at(now + settings.patience),
            setback=given.c.setback,
            setback_message=given.c.setback_message,
        ),
        execution_options={"synchronize_session": False},
    )


def postpone(session: Session, run_ids: Sequence[str], until: datetime, now: datetime, settings: Settings) -> None:
    """The cluster's breaker is open: pending runs of it are not launched before `until`."""
    session.execute(
        update(Run)
        .where(in_id_order(run_ids, col(Run.state) == RunState.PENDING))
        .values(
            launch_at=until,
            wake_at=until,
            held=False,
            expires_at=_expires_at(now + settings.patience),
            setback=Reason.CLUSTER_UNREACHABLE,
            setback_message="The cluster is unreachable.",
        ),
        execution_options={"synchronize_session": False},
    )


def return_claimed(session: Session, runs: Sequence[Run], now: datetime) -> None:
    """Claimed runs for which nothing was done go back to pending, due at once: that is no setback of theirs."""
    if not runs:
        return
    given = update_each(Run, [{"id": r.id, "attempt": r.attempt, "claim_token": r.claim_token} for r in runs])
    session.execute(
        update(Run).where(*still_claimed(given)).values(state=RunState.PENDING, wake_at=now),
        execution_options={"synchronize_session": False},
    )


def release_postponed(session: Session, cluster_name: str, now: datetime) -> None:
    """The cluster is reachable again: runs postponed by its breaker are due at once, as if never postponed."""
    postponed = (
        col(Run.state) == RunState.PENDING,
        col(Run.setback) == Reason.CLUSTER_UNREACHABLE,
    )
    of_the_cluster = select(col(Run.id)).where(col(Run.cluster) == cluster_name, *postponed)
    session.execute(
        update(Run)
        .where(in_id_order(of_the_cluster, *postponed))
        .values(launch_at=now, wake_at=now, setback=None, setback_message=None, expires_at=unshortened_expiry()),
        execution_options={"synchronize_session": False},
    )


def resend_overdue(
    store: Store, now: datetime, settings: Settings, except_pools: Sequence[str] = ()
) -> list[OpenedRun]:
    """Runs that no launcher has claimed in time, back to pending; each is returned to one caller only. One statement.

    Beat calls it every second and sends the runs to launchers again; those of `except_pools` wait. The wait doubles
    each time, so that a slow pool is not flooded; a superfluous message finds no run to claim and costs one statement.
    """
    overdue = (
        select(col(Run.id))
        .where(awaits_pod(), col(Run.wake_at) <= now, col(Run.pool).not_in(except_pools))
        .order_by(col(Run.wake_at))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    sent_again = (
        update(Run)
        .where(col(Run.id).in_(overdue.scalar_subquery()))
        .values(
            state=RunState.PENDING,
            wakes=col(Run.wakes) + 1,
            wake_at=next_wake(now, settings),
        )
        .returning(col(Run.id), col(Run.slot), col(Run.cluster), col(Run.node), col(Run.pool), col(Run.case))
    )
    with store.writing() as session:
        rows = session.execute(sent_again, execution_options={"synchronize_session": False}).all()
    return [OpenedRun(run.id, run.slot, subject_of_run(run.cluster, run.node), run.pool, run.case) for run in rows]


def _expires_at(until: datetime) -> Any:
    """The first setback shortens it: a run does not wait forever for a cluster that rejects it."""
    shortened = and_(col(Run.setback).is_(None), col(Run.expires_at) > until)
    return case((shortened, until), else_=col(Run.expires_at))
