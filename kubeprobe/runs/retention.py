"""Closes expired runs and deletes old ones. Beat issues both as housekeeping.

A run without an outcome long after its deadlines is `unknown`, with the best reason that is known (promise 6);
if its pod appears later, the collector deletes it as a leftover.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlmodel import col, select

from kubeprobe.effects import Effects
from kubeprobe.runs.close import Ending, close
from kubeprobe.runs.verdicts import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Outcome, Run, RunLog, Store, is_open
from kubeprobe.vocabulary import Reason, RunState, Verdict

BATCH = 500


@dataclass(frozen=True)
class Expired:
    """The result of `expire`: the number of closed runs, and those whose pods are to be removed."""

    count: int
    with_pods: list[Run]

    @property
    def effects(self) -> Effects:
        """To be dispatched after the commit."""
        return Effects(remove=self.with_pods, responders=int(self.count > 0))


def expire(store: Store, now: datetime) -> Expired:
    """Close runs whose `expires_at` has passed."""
    with store.writing() as session:
        due = session.exec(
            select(Run, Cluster.failures, Cluster.name)
            .join(Cluster, col(Cluster.name) == Run.cluster, isouter=True)
            .where(is_open(), Run.expires_at <= now)
            .order_by(col(Run.expires_at))
            .limit(BATCH)
            .with_for_update(of=Run, skip_locked=True)
        ).all()
        endings = [_ending(run, failures, cluster) for run, failures, cluster in due]
        ended = set(close(session, endings, now))
    return Expired(len(ended), [run for run, _, _ in due if run.id in ended and run.pod is not None])


def _ending(run: Run, failures: int | None, cluster: str | None) -> Ending:
    return Ending(run.id, Judgement(Verdict.UNKNOWN, *_why(run, failures, cluster)))


def _why(run: Run, failures: int | None, cluster: str | None) -> tuple[Reason, str]:
    if cluster is None:
        return Reason.CLUSTER_REMOVED, f"Cluster {run.cluster} was removed."
    if run.state == RunState.RUNNING:
        if failures:
            return Reason.CLUSTER_UNREACHABLE, "The cluster was unreachable until the run expired."
        return Reason.LOST, "The pod's completion was never observed. Is a collector running? See `kubeprobe doctor`."
    if run.setback is not None:
        return Reason(run.setback), f"Retried until the run expired: {run.setback_message or ''}".strip()
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
