"""Closes expired runs and deletes old ones. Beat issues both as housekeeping.

A run without an outcome long after its deadlines is `unknown`, with the best reason that is known (promise 6);
if its pod appears later, the collector deletes it as a leftover.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import delete
from sqlalchemy import select as select_columns
from sqlmodel import col, select

from kubeprobe import metrics
from kubeprobe.clock import Clock, TimeLimit
from kubeprobe.effects import Effects
from kubeprobe.runs.close import Ending, close
from kubeprobe.runs.verdicts import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Outcome, PodLocation, Run, RunLog, Store, is_open
from kubeprobe.store.invalid import replace_invalid_times
from kubeprobe.vocabulary import Reason, RunState, Verdict

log = structlog.get_logger(__name__)

BATCH = 500


@dataclass(frozen=True)
class ExpiredRun:
    """A run that was closed because it expired."""

    id: str
    cluster: str
    pool: str
    case: str


@dataclass(frozen=True)
class Expired:
    """The result of `expire`: the number of closed runs, and those whose pods are to be removed."""

    count: int
    with_pods: list[ExpiredRun]

    @property
    def effects(self) -> Effects:
        """To be dispatched after the commit."""
        return Effects(remove=self.with_pods, responders=int(self.count > 0))

    @property
    def is_full(self) -> bool:
        """Whether more runs may have expired."""
        return self.count >= BATCH


def expire(store: Store, now: datetime) -> Expired:
    """Close a batch of the runs whose `expires_at` has passed.

    An invalid row stops no other: only what is needed is read, and times that cannot be read are replaced.
    """
    try:
        return _expire(store, now)
    except ValueError:
        if not set_aside_invalid_times(store, now):
            raise
    return _expire(store, now)


def set_aside_invalid_times(store: Store, now: datetime) -> list[str]:
    """Replace the times of open runs that cannot be read; the ids of these runs."""
    with store.writing() as session:
        replaced = replace_invalid_times(session, Run, now, is_open())
    for run in replaced:
        metrics.record_set_aside("runs")
        log.error("invalid times of a run replaced", run=run)
    return replaced


def _expire(store: Store, now: datetime) -> Expired:
    columns: Any = (Run.id, Run.cluster, Run.pool, Run.case, Run.state, Run.held, Run.setback, Run.setback_message)
    columns += (Run.pod, Cluster.failures, Cluster.collector)
    columns += (
        col(Cluster.name).is_(None).label("is_removed"),
        col(PodLocation.left_at).is_not(None).label("has_moved"),
    )
    with store.writing() as session:
        due = session.execute(
            select_columns(*columns)
            .join(Cluster, col(Cluster.name) == Run.cluster, isouter=True)
            .join(PodLocation, col(PodLocation.id) == Run.location, isouter=True)
            .where(is_open(), col(Run.expires_at) <= now)
            .order_by(col(Run.expires_at))
            .limit(BATCH)
            .with_for_update(of=Run, skip_locked=True)
        ).all()
        endings = [Ending(row.id, Judgement(Verdict.UNKNOWN, *_why(row))) for row in due]
        ended = set(close(session, endings, now))
    closed = [row for row in due if row.id in ended and row.pod is not None]
    return Expired(len(ended), [ExpiredRun(row.id, row.cluster, row.pool, row.case) for row in closed])


def expire_all(store: Store, clock: Clock, limit: TimeLimit) -> Iterator[Expired]:
    """Batch after batch until no run has expired, or the limit is over."""
    while True:
        expired = expire(store, clock())
        yield expired
        if not expired.is_full or limit.is_over:
            return


def _why(run: Any) -> tuple[Reason, str]:
    if run.is_removed:
        return Reason.CLUSTER_REMOVED, f"Cluster {run.cluster} was removed."
    if run.state == RunState.RUNNING:
        if run.has_moved:
            moved = "The cluster's address or namespace was changed, and its pod's former location did not respond."
            return Reason.CLUSTER_UNREACHABLE, moved
        if run.failures and run.collector:  # a collector that is in contact with the cluster resets its failures
            return Reason.CLUSTER_UNREACHABLE, "The cluster was unreachable until the run expired."
        return Reason.LOST, "The pod's completion was never observed. Is a collector running? See `kubeprobe doctor`."
    if run.setback is not None:
        reason = Reason(run.setback) if run.setback in set(Reason) else Reason.NOT_LAUNCHED
        return reason, f"Retried until the run expired: {run.setback_message or ''}".strip()
    waited = "for the cluster's cap on pods (maxInFlight)" if run.held else "for a launcher"
    return Reason.NOT_LAUNCHED, f"It waited {waited} until it expired. See `kubeprobe doctor`."


def delete_old_runs(store: Store, now: datetime, settings: Settings) -> int:
    """Delete a batch of the runs older than `keep_outcomes`, with outcomes and logs; returns the number of runs."""
    with store.writing() as session:
        old = session.exec(
            select(Outcome.run_id).where(Outcome.stored_at < now - settings.keep_outcomes).limit(BATCH)
        ).all()
        tables: list[tuple[Any, Any]] = [(RunLog, RunLog.run_id), (Outcome, Outcome.run_id), (Run, Run.id)]
        for table, key in tables:
            session.execute(delete(table).where(col(key).in_(old)))
    return len(old)
