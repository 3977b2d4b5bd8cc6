"""Launch: claimed runs become pods. It creates and returns; nothing here waits for a pod (promise 4).

Before it: `trigger` opened the runs and woke a launcher. Next: `collect` sees the pods end.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session
from structlog.contextvars import bind_contextvars

from kubeprobe.backoff import Backoff
from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.catalog.render import RunIdentity, render_pod
from kubeprobe.clock import Clock
from kubeprobe.effects import Effects
from kubeprobe.errors import NotFoundError
from kubeprobe.execution.judge import judge_refusal
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.errors import Cause, ClusterError, TemporaryError
from kubeprobe.runs import (
    Claim,
    CreatedPod,
    Ending,
    Judgement,
    Setback,
    claim,
    close,
    close_waiting,
    lock_cluster,
    lock_runs,
    mark_running,
    postpone,
    put_off,
    release_postponed,
)
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Run, Store
from kubeprobe.vocabulary import OWN_LABELS, Reason, Verdict

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first=timedelta(seconds=2), longest=timedelta(seconds=30))
"""Before a run that the cluster did not take for now is launched again."""


@dataclass(frozen=True)
class Launcher:
    """What launching needs, opened once per process."""

    store: Store
    catalogs: CatalogCache
    clients: ClusterClients
    loop: LoopThread
    settings: Settings
    installation: str
    clock: Clock

    def launch(self, cluster_name: str, run_ids: Sequence[str]) -> Effects:
        """Create the pods of these runs of one cluster; runs that cannot have one are closed."""
        with self.store.writing() as session:
            locked = lock_cluster(session, cluster_name)
            claimed = self._claim(session, cluster_name, locked and locked[0], run_ids)
            if claimed is None:
                return Effects(responders=1)
            if not claimed.runs or locked is None:
                return Effects()
            catalog = self.catalogs.current(session, locked[1])
        attempts = self.loop.run(self._create_all(claimed, catalog))
        with self.store.writing() as session:
            effects = _settle(session, claimed.cluster, attempts, self.clock(), self.settings)
        if claimed.cluster.failures and not _is_unreachable(attempts):
            self._close_breaker(claimed.cluster.name)
        return effects

    def _close_breaker(self, cluster_name: str) -> None:
        """The cluster answers again. A transaction of its own: it locks other runs than those of the batch."""
        with self.store.writing() as session:
            if breaker.reset(session, cluster_name):
                release_postponed(session, cluster_name, self.clock())

    def _claim(
        self, session: Session, cluster_name: str, cluster: Cluster | None, run_ids: Sequence[str]
    ) -> Claim | None:
        """The runs to launch; None where the cluster takes none, and so they got their outcomes at once."""
        now = self.clock()
        if cluster is None:
            close_waiting(session, run_ids, Reason.CLUSTER_REMOVED, f"Cluster {cluster_name} was removed.", now)
            return None
        if cluster.cordoned_at is not None:
            told = f"Cluster {cluster_name} is cordoned: {cluster.cordon_reason or 'no reason given'}."
            close_waiting(session, run_ids, Reason.CORDONED, told, now)
            return None
        if breaker.is_open(cluster, now):
            assert cluster.open_until is not None
            postpone(session, run_ids, cluster.open_until, now, self.settings)
            return Claim(cluster, [])
        if cluster.failures:
            # This is the trial, and it is taken for failed until it succeeds: no second launcher waits beside it.
            breaker.trip(session, cluster.name, now)
        return claim(session, cluster, run_ids, now, self.settings)

    async def _create_all(self, claimed: Claim, catalog: Catalog) -> "list[Attempt]":
        api = await self.clients.get(claimed.cluster)
        gate = asyncio.Semaphore(self.settings.launch_concurrency)

        async def one(run: Run) -> Attempt:  # a task of its own, by `gather`: what it binds ends with it
            bind_contextvars(cluster=run.cluster, run=run.id, attempt=run.attempt)
            async with gate:
                try:
                    return await self._create(api, claimed.cluster, run, catalog)
                except Exception as error:  # one odd run must not keep the others of its batch from their pods
                    log.exception("pod not created", case=run.case)
                    return Attempt(run, error=TemporaryError(Cause.SERVER_ERROR, f"KubeProbe failed: {error!r}"))

        return list(await asyncio.gather(*(one(run) for run in claimed.runs)))

    async def _create(self, api: ClusterApi, cluster: Cluster, run: Run, catalog: Catalog) -> "Attempt":
        try:
            pod = render_pod(catalog, _identity(run, cluster, self.installation))
        except NotFoundError as error:
            return Attempt(run, gone=str(error))
        if self.clock() - (run.claimed_at or run.opened_at) > self.settings.claim_timeout / 2:
            # Somebody may have taken the claim for lost by now: leave the run to its next launcher.
            return Attempt(run, error=TemporaryError(Cause.CLUSTER_UNREACHABLE, "The launcher was too slow."))
        try:
            return Attempt(run, pod=await api.create_pod(cluster.namespace, pod), commit=catalog.commits.get(run.case))
        except ClusterError as error:
            if error.cause is not Cause.ALREADY_EXISTS:
                return Attempt(run, error=error)
        return await self._adopt(api, cluster, run, pod)

    async def _adopt(self, api: ClusterApi, cluster: Cluster, run: Run, pod: dict[str, Any]) -> "Attempt":
        """A pod of that name is there: ours from an earlier try, or a stranger's (failure modes 3 and 5)."""
        try:
            found = await api.get_pod(cluster.namespace, pod["metadata"]["name"])
        except ClusterError as error:
            return Attempt(run, error=TemporaryError(Cause.CONFLICT, f"The pod could not be adopted: {error.message}"))
        mine, theirs = pod["metadata"]["labels"], found["metadata"].get("labels") or {}
        if any(theirs.get(name) != mine[name] for name in OWN_LABELS):  # the template's own may have changed meanwhile
            told = f"Pod {pod['metadata']['name']} exists in namespace {cluster.namespace} and is not of this run."
            return Attempt(run, error=ClusterError(Cause.ALREADY_EXISTS, told))
        return Attempt(run, pod=found, commit=run.case_commit)


@dataclass(frozen=True)
class Attempt:
    """What came of creating one run's pod: a pod, an error, or a case that is gone."""

    run: Run
    pod: dict[str, Any] | None = None
    commit: str | None = None
    """Where the case came from that the pod was made of: it may have changed since the run was opened."""
    error: ClusterError | None = None
    gone: str | None = None


def _identity(run: Run, cluster: Cluster, installation: str) -> RunIdentity:
    return RunIdentity(
        run_id=run.id,
        installation=installation,
        case=run.case,
        binding=run.binding,
        cluster=cluster.name,
        cluster_labels=cluster.labels,
        node=run.node,
        namespace=cluster.namespace,
        trigger=run.trigger,
        attempt=run.attempt,
        parameters=run.parameters or {},
    )


def _settle(session: Session, cluster: Cluster, attempts: list[Attempt], now: datetime, settings: Settings) -> Effects:
    """Write down what came of a batch."""
    endings = []
    for attempt in attempts:
        if attempt.gone is not None:
            endings.append(_ending(attempt.run, Judgement(Verdict.UNKNOWN, Reason.CASE_REMOVED, attempt.gone)))
        elif attempt.error is not None and not isinstance(attempt.error, TemporaryError):
            endings.append(_ending(attempt.run, judge_refusal(attempt.error)))
    delayed = [a for a in attempts if isinstance(a.error, TemporaryError)]
    created = [_created(a, a.pod) for a in attempts if a.pod is not None]
    # Locks in the order of a claim: the cluster, then runs in the order of their ids.
    if _is_unreachable(attempts):
        breaker.trip(session, cluster.name, now)
    if len(created) < len(attempts):
        lock_runs(session, [a.run.id for a in attempts])
    put_off(session, [_put_off(a.run, a.error, now) for a in delayed if a.error], now, settings)
    mark_running(session, created, now, settings)
    return Effects(responders=int(bool(close(session, endings, now))))


def _is_unreachable(attempts: Sequence[Attempt]) -> bool:
    return any(a.error is not None and a.error.cause is Cause.CLUSTER_UNREACHABLE for a in attempts)


def _ending(run: Run, judgement: Judgement) -> Ending:
    return Ending(run.id, judgement, attempt=run.attempt)


def _created(attempt: Attempt, pod: dict[str, Any]) -> CreatedPod:
    return CreatedPod(
        run_id=attempt.run.id,
        attempt=attempt.run.attempt,
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        deadline=timedelta(seconds=pod["spec"]["activeDeadlineSeconds"]),
        case_commit=attempt.commit,
    )


def _put_off(run: Run, error: ClusterError, now: datetime) -> Setback:
    """Until a back-off has passed, or as long as the cluster asks for."""
    wait = BACKOFF.pause(run.wakes + 1)
    if error.retry_after_s is not None:
        wait = max(wait, timedelta(seconds=error.retry_after_s))
    refusal = judge_refusal(error)
    return Setback(run.id, run.attempt, now + wait, refusal.reason, refusal.message)
