"""Deletes the pods of runs that ended early: replaced by a newer slot, or expired. Their outcome is already committed.

A pod that cannot be deleted here is deleted by the cluster's watch, when it ends or its deadline passes.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import select
from sqlmodel import col
from structlog.contextvars import bound_contextvars

from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.locations import cluster_at, location_ids
from kubeprobe.fleet import breaker
from kubeprobe.fleet.errors import UNANSWERED, ClusterError
from kubeprobe.store import Cluster, PodLocation, Run
from kubeprobe.vocabulary import RunState

log = structlog.get_logger(__name__)


def remove_pods(launcher: Launcher, cluster_name: str, run_ids: Sequence[str]) -> None:
    """Delete the pods of those of the runs that are done, each by its UID, where it was created."""
    with launcher.store.reading() as session:
        cluster = session.get(Cluster, cluster_name)
        columns = (col(Run.id), col(Run.attempt), col(Run.location), col(Run.pod), col(Run.pod_uid))
        done = (col(Run.id).in_(run_ids), col(Run.state) == RunState.DONE, col(Run.pod_uid).is_not(None))
        runs = session.execute(select(*columns).where(*done)).all()
        by_location: dict[str | None, list[Any]] = defaultdict(list)
        for run in runs:
            by_location[run.location].append(run)
        located = select(PodLocation).where(col(PodLocation.id).in_([found for found in by_location if found]))
        locations = {row.id: row for row in session.scalars(located)}
    try:  # not in the transaction: it reads the secret key
        present = launcher.loop.run(location_ids([cluster] if cluster and locations else [], launcher.clients))
    except OSError as error:
        log.warning("pods not deleted: location of the cluster not read", cluster=cluster_name, error=str(error))
        return
    for location, there in by_location.items():
        where = cluster_at(locations.get(location or ""), cluster, present.get(cluster_name))
        if where is cluster and cluster is not None and breaker.retry_at(cluster, launcher.clock()):
            continue  # each message would hold a thread until the connection times out
        if where is not None:
            launcher.loop.run(_delete_all(launcher, where, location or "", there))


async def _delete_all(launcher: Launcher, cluster: Cluster, location: str, runs: Sequence[Any]) -> None:
    api = await launcher.clients.get(cluster, location)
    for run in runs:
        with bound_contextvars(cluster=cluster.name, run=run.id, attempt=run.attempt):
            try:
                await api.delete_pod(cluster.namespace, run.pod or "", run.pod_uid)
            except ClusterError as error:
                log.warning("pod not deleted", pod=run.pod, error=error.message)
                if error.cause in UNANSWERED:
                    return
