"""A run's log: live from its cluster while the pod exists, the kept tail afterwards."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta

from sqlmodel import Session, col, select

from kubeprobe.app.clusters import call_cluster
from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import use_case
from kubeprobe.errors import KubeProbeError
from kubeprobe.execution.locations import cluster_at, location_id
from kubeprobe.execution.logs import READ_WITHIN_S
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster, PodLocation, Run
from kubeprobe.views import RunDetails, get_run, kept_log
from kubeprobe.vocabulary import RunState, Verdict

PAUSE_S = 0.5
KEPT_WITHIN = timedelta(seconds=READ_WITHIN_S + 1)
NOT_YET = frozenset({Cause.INVALID, Cause.NOT_FOUND})
"""A container that has not started has no log (400); a pod that was just created may not be known to its node."""

Write = Callable[[str], None]


class NoLogError(KubeProbeError):
    """There is no log of this run."""


@use_case(Permission.READ)
def read_log(installation: Installation, run_id: str, write: Write, *, follow: bool = False) -> bool:
    """Hand the log of a run to `write` as it arrives; True where the probe ended while it was followed.

    `run_id` may be the beginning of one. Raises NoLogError, with the reason, where there is none.
    """
    run = installation.query(get_run, run_id)
    if run.state != RunState.DONE:
        if run.state != RunState.RUNNING and not follow:
            raise NoLogError(f"No log yet: the run is {run.state} ({run.why}). --follow waits for it.")
        present, location = installation.query(_get_cluster, run)
        present_id = location_id(present, ClusterClients(installation.cipher))  # it reads the secret key
        cluster = cluster_at(location, present, present_id) or present
        reader = _Reader(installation, cluster.namespace, run, write)
        if call_cluster(installation.cipher, cluster, lambda api: reader.read(api, follow=follow)):
            return follow
        run = installation.query(get_run, run.id)
    tail = _kept(installation, run)
    write(tail if tail.endswith("\n") else f"{tail}\n")
    return False


def _get_cluster(session: Session, run: RunDetails) -> tuple[Cluster, PodLocation | None]:
    """The run's cluster, and the location of its pod: the cluster may have moved since."""
    located = select(PodLocation).join(Run, col(Run.location) == PodLocation.id).where(Run.id == run.id)
    return clusters.get(session, run.cluster), session.exec(located).one_or_none()


def _kept(installation: Installation, run: RunDetails) -> str:
    """The kept tail, which the collector stores some seconds after the outcome."""
    comes_until = run.stages[-1].at + KEPT_WITHIN
    while True:
        if (kept := installation.query(kept_log, run.id)) is not None:
            return kept.tail
        if run.verdict == Verdict.PASS or run.pod is None or installation.clock() > comes_until:
            raise NoLogError(f"There is no log of run {run.id}: {_why_none(run)}")
        time.sleep(PAUSE_S)


def _why_none(run: RunDetails) -> str:
    if run.verdict == Verdict.PASS:
        return "it passed, and logs are kept only of runs that did not."
    if run.pod is None:
        return f"it never had a pod ({run.reason}: {run.message})."
    return "its pod wrote nothing, or was deleted before its log could be read."


class _Reader:
    """Reads the log of a run that has not ended."""

    def __init__(self, installation: Installation, namespace: str, run: RunDetails, write: Write) -> None:
        self._installation = installation
        self._namespace = namespace
        self._run = run
        self._write = write

    async def read(self, api: ClusterApi, *, follow: bool) -> bool:
        """Write the log; False where the run ended before any of it was read."""
        while True:
            if await self._try(api, follow=follow):
                return True
            if self._run.state == RunState.DONE:
                return False
            if not follow:
                raise NoLogError("No log yet: the probe's container has not started. --follow waits for it.")
            await asyncio.sleep(PAUSE_S)
            await self._refresh()

    async def _try(self, api: ClusterApi, *, follow: bool) -> bool:
        """True where there was a log."""
        if self._run.pod is None or self._run.state != RunState.RUNNING:
            return False
        try:
            if follow:
                async with aclosing(api.follow_log(self._namespace, self._run.pod)) as lines:
                    async for line in lines:
                        self._write(f"{line}\n")
            else:
                self._write(await api.read_log(self._namespace, self._run.pod))
        except ClusterError as error:
            if error.cause not in NOT_YET:
                raise
            await self._refresh()
            return False
        return True

    async def _refresh(self) -> None:
        self._run = await asyncio.to_thread(self._installation.query, get_run, self._run.id)
