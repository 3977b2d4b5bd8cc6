"""Launch: creates the pods of claimed runs and returns; nothing here waits for a pod (promise 4).

Before it: `trigger` opened the runs and woke a launcher. Next: `collect` observes the pods' ends.
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
from kubeprobe.catalog.policy import PolicyError, TemplatePolicy
from kubeprobe.catalog.render import RunIdentity, render_pod
from kubeprobe.clock import Clock
from kubeprobe.effects import Effects
from kubeprobe.errors import NotFoundError
from kubeprobe.execution.judge import judge_refusal
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.errors import Cause, ClusterError, PermanentError, TemporaryError
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
"""The pauses before a run with a temporary error is launched again."""


@dataclass(frozen=True)
class Launcher:
    """What launching needs, created once per process."""

    store: Store
    catalogs: CatalogCache
    clients: ClusterClients
    loop: LoopThread
    settings: Settings
    installation: str
    clock: Clock

    def launch(self, cluster_name: str, run_ids: Sequence[str]) -> Effects:
        """Create the pods of these runs of one cluster; runs with a permanent error are closed."""
        with self.store.writing() as session:
            locked = lock_cluster(session, cluster_name)
            claimed = self._claim(session, cluster_name, locked and locked[0], run_ids)
            if claimed is None:
                return Effects(responders=1)
            if not claimed.runs or locked is None:
                return Effects()
            catalog = self.catalogs.current(session, locked[1])
        results = self.loop.run(self._create_all(claimed, catalog))
        with self.store.writing() as session:
            effects = _record(session, claimed.cluster, results, self.clock(), self.settings)
        if claimed.cluster.failures and not _is_unreachable(results):
            self._close_breaker(claimed.cluster.name)
        return effects

    def _close_breaker(self, cluster_name: str) -> None:
        """The cluster is reachable again. A separate transaction: it locks other runs than those of the batch."""
        with self.store.writing() as session:
            if breaker.reset(session, cluster_name):
                release_postponed(session, cluster_name, self.clock())

    def _claim(
        self, session: Session, cluster_name: str, cluster: Cluster | None, run_ids: Sequence[str]
    ) -> Claim | None:
        """The runs to launch; None if the cluster is removed or cordoned, so that they are closed."""
        now = self.clock()
        if cluster is None:
            close_waiting(session, run_ids, Reason.CLUSTER_REMOVED, f"Cluster {cluster_name} was removed.", now)
            return None
        if cluster.cordoned_at is not None:
            message = f"Cluster {cluster_name} is cordoned: {cluster.cordon_reason or 'no reason given'}."
            close_waiting(session, run_ids, Reason.CORDONED, message, now)
            return None
        if breaker.is_open(cluster, now):
            assert cluster.open_until is not None
            postpone(session, run_ids, cluster.open_until, now, self.settings)
            return Claim(cluster, [])
        if cluster.failures:
            # Half-open: counted as failed until it succeeds, so that no other launcher tries meanwhile.
            breaker.trip(session, cluster.name, now)
        return claim(session, cluster, run_ids, now, self.settings)

    async def _create_all(self, claimed: Claim, catalog: Catalog) -> "list[LaunchResult]":
        api = await self.clients.get(claimed.cluster)
        slots = asyncio.Semaphore(self.settings.launch_concurrency)

        async def create(run: Run) -> LaunchResult:  # `gather` makes it a task: what it binds ends with it
            bind_contextvars(cluster=run.cluster, run=run.id, attempt=run.attempt)
            async with slots:
                try:
                    return await self._create(api, claimed.cluster, run, catalog)
                except Exception as error:  # one run's error must not stop the others of its batch
                    log.exception("pod not created", case=run.case)
                    return LaunchResult(run, error=TemporaryError(Cause.SERVER_ERROR, f"KubeProbe failed: {error!r}"))

        return list(await asyncio.gather(*(create(run) for run in claimed.runs)))

    async def _create(self, api: ClusterApi, cluster: Cluster, run: Run, catalog: Catalog) -> "LaunchResult":
        try:
            policy = TemplatePolicy.of(self.settings)
            pod = render_pod(catalog, _identity(run, cluster, self.installation), policy)
        except PolicyError as error:
            return LaunchResult(run, error=PermanentError(Cause.ADMISSION_DENIED, str(error)))
        except NotFoundError as error:
            return LaunchResult(run, case_removed=str(error))
        if self.clock() - (run.claimed_at or run.opened_at) > self.settings.claim_timeout / 2:
            # The claim may have expired: leave the run to its next launcher.
            expired = "The launcher's claim expired before the pod was created."
            return LaunchResult(run, error=TemporaryError(Cause.CLUSTER_UNREACHABLE, expired))
        try:
            created = await api.create_pod(cluster.namespace, pod)
            return LaunchResult(run, pod=created, commit=catalog.commits.get(run.case))
        except ClusterError as error:
            if error.cause is not Cause.ALREADY_EXISTS:
                return LaunchResult(run, error=error)
        return await self._adopt(api, cluster, run, pod)

    async def _adopt(self, api: ClusterApi, cluster: Cluster, run: Run, pod: dict[str, Any]) -> "LaunchResult":
        """A pod of that name exists: ours from an earlier attempt, or another's (failure modes 3 and 5)."""
        try:
            found = await api.get_pod(cluster.namespace, pod["metadata"]["name"])
        except ClusterError as error:
            message = f"The pod could not be adopted: {error.message}"
            return LaunchResult(run, error=TemporaryError(Cause.CONFLICT, message))
        mine, theirs = pod["metadata"]["labels"], found["metadata"].get("labels") or {}
        if any(theirs.get(name) != mine[name] for name in OWN_LABELS):  # the template's labels may have changed
            message = f"Pod {pod['metadata']['name']} exists in namespace {cluster.namespace} and is not of this run."
            return LaunchResult(run, error=ClusterError(Cause.ALREADY_EXISTS, message))
        return LaunchResult(run, pod=found, commit=run.case_commit)


@dataclass(frozen=True)
class LaunchResult:
    """The result of launching one run: a pod, an error, or the message that its case was removed."""

    run: Run
    pod: dict[str, Any] | None = None
    commit: str | None = None
    """The commit of the case that the pod was rendered from: newer than the run's if the case has changed."""
    error: ClusterError | None = None
    case_removed: str | None = None


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


def _record(
    session: Session, cluster: Cluster, results: list[LaunchResult], now: datetime, settings: Settings
) -> Effects:
    """Record the results of a batch."""
    endings = []
    for result in results:
        if result.case_removed is not None:
            endings.append(_ending(result.run, Judgement(Verdict.UNKNOWN, Reason.CASE_REMOVED, result.case_removed)))
        elif result.error is not None and not isinstance(result.error, TemporaryError):
            endings.append(_ending(result.run, judge_refusal(result.error)))
    delayed = [each for each in results if isinstance(each.error, TemporaryError)]
    created = [_created(each, each.pod) for each in results if each.pod is not None]
    # Locks in the order of a claim: the cluster, then runs in the order of their ids.
    if _is_unreachable(results):
        breaker.trip(session, cluster.name, now)
    if len(created) < len(results):
        lock_runs(session, [each.run.id for each in results])
    put_off(session, [_put_off(each.run, each.error, now) for each in delayed if each.error], now, settings)
    mark_running(session, created, now, settings)
    return Effects(responders=int(bool(close(session, endings, now))))


def _is_unreachable(results: Sequence[LaunchResult]) -> bool:
    return any(each.error is not None and each.error.cause is Cause.CLUSTER_UNREACHABLE for each in results)


def _ending(run: Run, judgement: Judgement) -> Ending:
    return Ending(run.id, judgement, attempt=run.attempt)


def _created(result: LaunchResult, pod: dict[str, Any]) -> CreatedPod:
    return CreatedPod(
        run_id=result.run.id,
        attempt=result.run.attempt,
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        deadline=timedelta(seconds=pod["spec"]["activeDeadlineSeconds"]),
        case_commit=result.commit,
    )


def _put_off(run: Run, error: ClusterError, now: datetime) -> Setback:
    """Until the back-off has passed, or the cluster's `Retry-After` if that is longer."""
    wait = BACKOFF.pause(run.wakes + 1)
    if error.retry_after_s is not None:
        wait = max(wait, timedelta(seconds=error.retry_after_s))
    refusal = judge_refusal(error)
    return Setback(run.id, run.attempt, now + wait, refusal.reason, refusal.message)
