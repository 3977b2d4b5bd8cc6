"""Claiming runs for a launcher: who creates a pod, and whether the cluster has room for it.

Next: `execution.launch` creates the pods of what was claimed, and marks the runs as running. Claiming takes two
statements whatever the batch: the cluster's row is locked, so that its cap holds across all launchers (promise 5), then
the runs are claimed by compare-and-set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, literal, not_, update
from sqlmodel import Session, col, select

from kubeprobe.runs.rows import in_id_order, still_claimed
from kubeprobe.settings import Settings
from kubeprobe.store import CatalogVersion, Cluster, Run, is_open, update_each
from kubeprobe.store.types import UTCDateTime
from kubeprobe.vocabulary import RunState

IN_FLIGHT = (RunState.LAUNCHING, RunState.RUNNING)


@dataclass(frozen=True)
class Claim:
    """The runs that this launcher now answers for."""

    cluster: Cluster
    runs: list[Run]


def lock_cluster(session: Session, name: str) -> tuple[Cluster, int] | None:
    """The cluster's row, locked for this transaction (SQLite locks as a whole), and the catalog's version beside it."""
    version = select(CatalogVersion.version).where(CatalogVersion.id == 1).scalar_subquery()
    found = select(Cluster, func.coalesce(version, 0)).where(Cluster.name == name)
    return session.exec(found.with_for_update(of=Cluster)).one_or_none()


def claim(session: Session, cluster: Cluster, run_ids: Sequence[str], now: datetime, settings: Settings) -> Claim:
    """Take those of the runs that still wait, as far as the cluster has room; the rest is marked as held.

    A collector that makes room wakes held runs; beat does so too, for wakes get lost.
    """
    in_flight = (
        select(func.count())
        .select_from(Run)
        .where(Run.cluster == cluster.name, is_open(), col(Run.state).in_(IN_FLIGHT))
    ).scalar_subquery()
    room = case((in_flight < cluster.max_in_flight, cluster.max_in_flight - in_flight), else_=0)
    waiting = (col(Run.id).in_(run_ids), col(Run.state) == RunState.PENDING, col(Run.launch_at) <= now)
    chosen = select(Run.id).where(*waiting).order_by(col(Run.due_at), col(Run.id)).limit(room).cte("chosen")
    has_room = col(Run.id).in_(select(chosen.c.id))
    # One statement for those with and without room: a second one might see runs that wait only since, out of order.
    found = session.scalars(
        update(Run)
        .where(in_id_order(run_ids, *waiting))
        .values(
            state=case((has_room, RunState.LAUNCHING.value), else_=RunState.PENDING.value),
            claimed_at=case((has_room, literal(now, UTCDateTime)), else_=col(Run.claimed_at)),
            wake_at=case(
                (has_room, literal(now + settings.claim_timeout, UTCDateTime)),
                else_=literal(now + settings.resend_after, UTCDateTime),
            ),
            held=not_(has_room),
        )
        .returning(Run),
        execution_options={"synchronize_session": False},
    ).all()
    return Claim(cluster, [run for run in found if run.state == RunState.LAUNCHING])


def held_runs(session: Session, clusters: Sequence[str], limit: int) -> Sequence[Run]:
    """Runs that wait for room on these clusters, oldest first."""
    held = (is_open(), Run.state == RunState.PENDING, col(Run.held).is_(other=True), col(Run.cluster).in_(clusters))
    return session.exec(select(Run).where(*held).order_by(col(Run.due_at)).limit(limit)).all()


@dataclass(frozen=True)
class CreatedPod:
    """The pod that an attempt of a run now has."""

    run_id: str
    attempt: int
    name: str
    uid: str
    deadline: timedelta
    """After which Kubernetes ends it (`activeDeadlineSeconds`)."""
    case_commit: str | None = None
    """Where the case came from that the pod was made of: it may have changed since the run was opened."""


def mark_running(session: Session, pods: Sequence[CreatedPod], now: datetime, settings: Settings) -> None:
    """Note the pods of claimed runs. One whose claim lapsed meanwhile is left to its next launcher, which adopts it."""
    if not pods:
        return
    given = update_each(
        Run,
        [
            {
                "id": pod.run_id,
                "attempt": pod.attempt,
                "pod": pod.name,
                "pod_uid": pod.uid,
                "case_commit": pod.case_commit,
                "expires_at": now + pod.deadline + settings.lost_after,
            }
            for pod in pods
        ],
    )
    session.execute(
        update(Run)
        .where(*still_claimed(given))
        .values(
            state=RunState.RUNNING,
            created_at=now,
            pod=given.c.pod,
            pod_uid=given.c.pod_uid,
            case_commit=given.c.case_commit,
            expires_at=given.c.expires_at,
        ),
        execution_options={"synchronize_session": False},
    )
