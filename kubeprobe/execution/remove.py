"""Deletes the pods of runs that ended early: replaced by a newer slot, or expired. Their outcome is already committed.

A pod that cannot be deleted here is deleted by the cluster's watch, when it ends or its deadline passes.
"""

from collections.abc import Sequence

import structlog
from sqlmodel import col, select
from structlog.contextvars import bound_contextvars

from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster, Run
from kubeprobe.vocabulary import RunState

log = structlog.get_logger(__name__)


def remove_pods(launcher: Launcher, cluster_name: str, run_ids: Sequence[str]) -> None:
    """Delete the pods of those of the runs that are done, each by its UID."""
    with launcher.store.reading() as session:
        cluster = session.get(Cluster, cluster_name)
        done = select(Run).where(col(Run.id).in_(run_ids), Run.state == RunState.DONE, col(Run.pod_uid).is_not(None))
        runs = session.exec(done).all()
    if cluster is not None:
        launcher.loop.run(_delete_all(launcher, cluster, runs))


async def _delete_all(launcher: Launcher, cluster: Cluster, runs: Sequence[Run]) -> None:
    api = await launcher.clients.get(cluster)
    for run in runs:
        with bound_contextvars(cluster=cluster.name, run=run.id, attempt=run.attempt):
            try:
                await api.delete_pod(cluster.namespace, run.pod or "", run.pod_uid or "")
            except ClusterError as error:
                log.warning("pod not deleted", pod=run.pod, error=error.message)
                if error.cause is Cause.CLUSTER_UNREACHABLE:
                    return
