"""Claims runs for a launcher, up to the cluster's cap on pods in flight.

Next: `execution.launch` creates the pods of claimed runs, and marks the runs as running. Claiming takes two
statements for any size of batch: the cluster's row is locked, so that its cap holds across all launchers (promise 5),
then the runs are claimed by compare-and-set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import String, case, func, literal, not_, null, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select
from ulid import ULID

from kubeprobe import metrics
from kubeprobe.runs.open import OpenedRun
from kubeprobe.runs.rows import in_id_order, next_wake, still_claimed, unshortened_expiry
from kubeprobe.settings import Settings
from kubeprobe.store import CatalogVersion, Cluster, PodLocation, Run, is_open, on_commit, subject_of_run, update_each
from kubeprobe.store.types import UTCDateTime
from kubeprobe.vocabulary import RunState

IN_FLIGHT = (RunState.LAUNCHING, RunState.RUNNING)


@dataclass(frozen=True)
class Claim:
    """The runs that this launcher has claimed."""

    cluster: Cluster
    runs: list[Run]


def lock_cluster(session: Session, name: str) -> tuple[Cluster, int, str | None] | None:
    """The cluster's row, locked for this transaction, the catalog's version, and the id of its recorded location.

    SQLite locks the database.
    """
    version = select(CatalogVersion.version).where(CatalogVersion.id == 1).scalar_subquery()
    location = (
        select(PodLocation.id)
        .where(
            PodLocation.cluster == Cluster.name,
            PodLocation.namespace == Cluster.namespace,
            PodLocation.connection_version == Cluster.connection_version,
            PodLocation.cluster_created_at == Cluster.created_at,
            col(PodLocation.left_at).is_(None),
        )
        .limit(1)
        .scalar_subquery()
    )
    found = select(Cluster, func.coalesce(version, 0), location).where(Cluster.name == name)
    return session.exec(found.with_for_update(of=Cluster)).one_or_none()


def claim(
    session: Session,
    cluster: Cluster,
    run_ids: Sequence[str],
    now: datetime,
    settings: Settings,
    location: str | None = None,
) -> Claim:
    """Claim those of the runs that are pending, up to the cluster's cap; the others are marked as held.

    `location`: where their pods will be created.

    When pods end, a collector sends held runs to launchers again; so does beat, in case that message is lost. A
    held run waits for the cap and for nothing else: an earlier setback no longer counts.
    """
    in_flight = (
        select(func.count())
        .select_from(Run)
        .where(Run.cluster == cluster.name, is_open(), col(Run.state).in_(IN_FLIGHT))
    ).scalar_subquery()
    free = case((in_flight < cluster.max_in_flight, cluster.max_in_flight - in_flight), else_=0)
    waiting = (col(Run.id).in_(run_ids), col(Run.state) == RunState.PENDING, col(Run.launch_at) <= now)
    chosen = select(Run.id).where(*waiting).order_by(col(Run.due_at), col(Run.id)).limit(free).cte("chosen")
    is_below_cap = col(Run.id).in_(select(chosen.c.id))
    # One statement for claimed and held runs: a second one could also match runs opened in between, out of order.
    found = session.scalars(
        update(Run)
        .where(in_id_order(run_ids, *waiting))
        .values(
            state=case((is_below_cap, RunState.LAUNCHING.value), else_=RunState.PENDING.value),
            claimed_at=case((is_below_cap, literal(now, UTCDateTime)), else_=col(Run.claimed_at)),
            claim_token=case((is_below_cap, str(ULID()).lower()), else_=col(Run.claim_token)),
            location=case((is_below_cap, literal(location, String)), else_=col(Run.location)),
            setback=case((is_below_cap, col(Run.setback)), else_=null()),
            setback_message=case((is_below_cap, col(Run.setback_message)), else_=null()),
            expires_at=case((is_below_cap, col(Run.expires_at)), else_=unshortened_expiry()),
            wake_at=case(
                (is_below_cap, literal(now + settings.claim_timeout, UTCDateTime)),
                else_=next_wake(now, settings),
            ),
            held=not_(is_below_cap),
        )
        .returning(Run),
        execution_options={"synchronize_session": False},
    ).all()
    return Claim(cluster, [run for run in found if run.state == RunState.LAUNCHING])


def held_runs(session: Session, clusters: Sequence[str], limit: int) -> Sequence[OpenedRun]:
    """Runs that are held by the cap of these clusters, oldest first."""
    held = (
        is_open(),
        col(Run.state) == RunState.PENDING,
        col(Run.held).is_(other=True),
        col(Run.cluster).in_(clusters),
    )
    columns = (col(Run.id), col(Run.slot), col(Run.cluster), col(Run.node), col(Run.pool), col(Run.case))
    found = session.execute(select_columns(*columns).where(*held).order_by(col(Run.due_at)).limit(limit))
    return [OpenedRun(run.id, run.slot, subject_of_run(run.cluster, run.node), run.pool, run.case) for run in found]


@dataclass(frozen=True)
class CreatedPod:
    """The pod that an attempt of a run now has."""

    run_id: str
    attempt: int
    claim_token: str | None
    name: str
    uid: str
    deadline: timedelta
    """`activeDeadlineSeconds`: after that Kubernetes ends the pod."""
    case_commit: str | None = None
    """Of the case that the pod was rendered from: it may have changed since the run was opened."""


def mark_running(session: Session, pods: Sequence[CreatedPod], now: datetime, settings: Settings) -> None:
    """Record the pods of claimed runs. If a claim has expired, the next launcher of the run adopts the pod."""
    if not pods:
        return
    given = update_each(
        Run,
        [
            {
                "id": pod.run_id,
                "attempt": pod.attempt,
                "claim_token": pod.claim_token,
                "pod": pod.name,
                "pod_uid": pod.uid,
                "case_commit": pod.case_commit,
                "expires_at": now + pod.deadline + settings.lost_after,
            }
            for pod in pods
        ],
    )
    marked = session.execute(
        update(Run)
        .where(*still_claimed(given))
        .values(
            state=RunState.RUNNING,
            created_at=now,
            pod=given.c.pod,
            pod_uid=given.c.pod_uid,
            case_commit=given.c.case_commit,
            expires_at=given.c.expires_at,
        )
        .returning(col(Run.opened_at), col(Run.attempt)),
        execution_options={"synchronize_session": False},
    ).all()
    first = [opened_at for opened_at, attempt in marked if attempt == 1]
    on_commit(session, lambda: metrics.record_created(first, now))
