"""A run's log: live from its cluster while the pod is there, the kept tail afterwards."""

import asyncio
import sys
import time
from contextlib import aclosing
from datetime import timedelta

from kubeprobe.cli.output import remark
from kubeprobe.clock import utc_now
from kubeprobe.errors import KubeProbeError
from kubeprobe.execution.logs import READ_WITHIN_S
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.views import RunDetails, get_run, kept_log
from kubeprobe.vocabulary import RunState, Verdict

PAUSE_S = 0.5
KEPT_WITHIN = timedelta(seconds=READ_WITHIN_S + 1)
NOT_YET = frozenset({Cause.INVALID, Cause.NOT_FOUND})
"""A container that has not started has no log (400); a pod that was just created may not be known to its node."""


class NoLogError(KubeProbeError):
    """There is no log of this run."""


def print_log(store: Store, settings: Settings, given: str, *, follow: bool) -> None:
    """Print the log of a run. Raises NoLogError, with the reason, where there is none."""
    run = _get(store, given)
    if run.state != RunState.DONE:
        if run.state != RunState.RUNNING and not follow:
            raise NoLogError(f"No log yet: the run is {run.state} ({run.why}). --follow waits for it.")
        with store.reading() as session:
            cluster = clusters.get(session, run.cluster)
        reader = _Reader(store, cluster, run)
        if asyncio.run(reader.read(Cipher.from_settings(settings), follow=follow)):
            return
        run = _get(store, run.id)
    tail = _kept(store, run)
    sys.stdout.write(tail if tail.endswith("\n") else f"{tail}\n")


def _kept(store: Store, run: RunDetails) -> str:
    """The kept tail. Of a run that has just ended the collector may still be reading it: it tells the outcome first."""
    comes_until = run.stages[-1].at + KEPT_WITHIN
    while True:
        with store.reading() as session:
            kept = kept_log(session, run.id)
        if kept is not None:
            return kept.tail
        if run.verdict == Verdict.PASS or run.pod is None or utc_now() > comes_until:
            raise NoLogError(f"There is no log of run {run.id}: {_why_none(run)}")
        time.sleep(PAUSE_S)


def _why_none(run: RunDetails) -> str:
    if run.verdict == Verdict.PASS:
        return "it passed, and logs are kept of what did not."
    if run.pod is None:
        return f"it never had a pod ({run.reason}: {run.message})."
    return "its pod wrote nothing, or was gone before its log could be read."


class _Reader:
    """Reads the log of a run that is under way."""

    def __init__(self, store: Store, cluster: Cluster, run: RunDetails) -> None:
        self._store = store
        self._cluster = cluster
        self._run = run

    async def read(self, cipher: Cipher, *, follow: bool) -> bool:
        """Print the log; False where the run was over before anything of it was seen."""
        clients = ClusterClients(cipher)
        try:
            api = await clients.get(self._cluster)
            while True:
                if await self._try(api, follow=follow):
                    return True
                if self._run.state == RunState.DONE:
                    return False
                if not follow:
                    raise NoLogError("No log yet: the probe's container has not started. --follow waits for it.")
                await asyncio.sleep(PAUSE_S)
                self._run = await asyncio.to_thread(_get, self._store, self._run.id)
        finally:
            await clients.close()

    async def _try(self, api: ClusterApi, *, follow: bool) -> bool:
        """True where there was a log."""
        if self._run.pod is None or self._run.state != RunState.RUNNING:
            return False
        try:
            if follow:
                await self._follow(api, self._run.pod)
            else:
                sys.stdout.write(await api.read_log(self._cluster.namespace, self._run.pod))
        except ClusterError as error:
            if error.cause not in NOT_YET:
                raise
            self._run = await asyncio.to_thread(_get, self._store, self._run.id)
            return False
        return True

    async def _follow(self, api: ClusterApi, pod: str) -> None:
        async with aclosing(api.follow_log(self._cluster.namespace, pod)) as lines:
            async for line in lines:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
        remark("The probe has ended.")


def _get(store: Store, given: str) -> RunDetails:
    with store.reading() as session:
        return get_run(session, given)
