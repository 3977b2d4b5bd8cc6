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

from kubeprobe import metrics
from kubeprobe.backoff import Backoff
from kubeprobe.catalog import Catalog, CatalogCache, CatalogUnreadableError
from kubeprobe.catalog.policy import PolicyError, TemplatePolicy
from kubeprobe.catalog.render import RunIdentity, render_pod
from kubeprobe.clock import Clock
from kubeprobe.effects import Effects
from kubeprobe.errors import KubeProbeError, NotFoundError
from kubeprobe.execution.judge import judge_refusal
from kubeprobe.execution.locations import Located, locate
from kubeprobe.execution.loop import LoopThread
from kubeprobe.execution.report import without_nul
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.errors import UNANSWERED, Cause, ClusterError, PermanentError, TemporaryError
from kubeprobe.fleet.transport import REQUEST_TIMEOUT_S, SLOT_TIMEOUT_S
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
    return_claimed,
    set_aside_invalid_times,
)
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Run, Store, is_rejection
from kubeprobe.vocabulary import OWN_LABELS, Reason, Verdict

log = structlog.get_logger(__name__)

ONE_REQUEST = timedelta(seconds=SLOT_TIMEOUT_S + REQUEST_TIMEOUT_S)
"""The longest that the creation of one pod takes, with credentials that are loaded and accepted."""
BACKOFF = Backoff(first=timedelta(seconds=2), longest=timedelta(seconds=30))
"""The pauses before a run with a temporary error is launched again."""


def latest_request(claim_timeout: timedelta) -> timedelta:
    """How long after its claim a run's pod may be requested, so that the request ends before the claim does.

    With claims that are shorter than a request, a quarter of them: the end of the claim then ends the request.
    """
    return max(claim_timeout - ONE_REQUEST, claim_timeout / 4)


class UnreadableRunError(KubeProbeError):
    """A run's row holds what its columns cannot."""


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
        """Create the pods of these runs of one cluster; runs with a permanent error are closed.

        A run whose row cannot be read, or whose result cannot be stored, stops no other of its batch.
        """
        try:
            return self._launch(cluster_name, run_ids)
        except UnreadableRunError as error:
            if len(run_ids) > 1:
                return sum((self.launch(cluster_name, [run_id]) for run_id in run_ids), Effects())
            set_aside_invalid_times(self.store, self.clock())  # else it could not be closed either
            return self._set_aside([Ending(run_id, _fault(f"cannot be read: {error}")) for run_id in run_ids])

    def _launch(self, cluster_name: str, run_ids: Sequence[str], located: Located | None = None) -> Effects:
        """`located`: of a cluster whose location was not recorded."""
        begun = self._begin(cluster_name, run_ids, located)
        if isinstance(begun, Cluster):
            return self._launch(cluster_name, run_ids, self.loop.run(locate(begun, self.clients)))
        if isinstance(begun, Effects):
            return begun
        claimed, location, catalog = begun
        contact = Contact()
        if isinstance(location, ClusterError):
            results = [LaunchResult(run, error=location) for run in claimed.runs]
        else:
            results = self.loop.run(self._create_all(claimed, location, catalog, contact))
        effects = self._record(claimed.cluster, results, contact)
        if claimed.cluster.failures and contact.responded:
            self._close_breaker(claimed.cluster)
        return effects

    def _begin(
        self, cluster_name: str, run_ids: Sequence[str], located: Located | None
    ) -> tuple[Claim, str | ClusterError, Catalog] | Effects | Cluster:
        """Claim the runs: the claim, where their pods will be created (an error: unknown), and the catalog.

        Effects: nothing is to be created. The cluster: nothing was done, its location is to be read first.
        """
        with self.store.writing() as session:
            cluster, version, recorded = lock_cluster(session, cluster_name) or (None, 0, None)
            location: str | ClusterError | None = recorded
            if cluster is not None and recorded is None:
                location = located.record(session, cluster) if located is not None else None
                if location is None:
                    return cluster
            where = location if isinstance(location, str) else None
            claimed = self._claim(session, cluster_name, cluster, run_ids, where)
            if claimed is None:
                return Effects(responders=1)
            if not claimed.runs or location is None:
                return Effects()
            return claimed, location, self.catalogs.current(session, version)

    def _record(self, cluster: Cluster, results: "list[LaunchResult]", contact: "Contact") -> Effects:
        """Record the results of a batch; if the database rejects it, each by itself."""
        try:
            with self.store.writing() as session:
                return _record(session, cluster, results, contact, self.clock(), self.settings)
        except Exception as error:
            if not is_rejection(error):
                raise
            if len(results) > 1:
                return sum((self._record(cluster, [result], contact) for result in results), Effects())
            run = results[0].run
            return self._set_aside([_ending(run, _fault(f"has a result that cannot be stored: {error}"))])

    def _set_aside(self, endings: Sequence[Ending]) -> Effects:
        for ending in endings:
            metrics.record_set_aside("runs")
            log.error("run set aside", run=ending.run_id, error=ending.judgement.message)
        with self.store.writing() as session:
            return Effects(responders=int(bool(close(session, endings, self.clock()))))

    def _close_breaker(self, cluster: Cluster) -> None:
        """The cluster is reachable again. A separate transaction: it locks other runs than those of the batch."""
        with self.store.writing() as session:
            if breaker.reset(session, cluster):
                release_postponed(session, cluster.name, self.clock())

    def _claim(
        self,
        session: Session,
        cluster_name: str,
        cluster: Cluster | None,
        run_ids: Sequence[str],
        location: str | None = None,
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
        if retry_at := breaker.retry_at(cluster, now):
            postpone(session, run_ids, retry_at, now, self.settings)
            return Claim(cluster, [])
        try:
            claimed = claim(session, cluster, run_ids, now, self.settings, location)
        except (ValueError, TypeError, LookupError) as error:  # of a column's type, such as JSON that is cut
            raise UnreadableRunError(repr(error)) from error
        if claimed.runs and cluster.failures:
            breaker.start_trial(session, cluster, now + self.settings.claim_timeout)
        return claimed

    async def _create_all(
        self, claimed: Claim, location: str, catalog: Catalog, contact: "Contact"
    ) -> "list[LaunchResult]":
        api = await self.clients.get(claimed.cluster, location)
        try:
            await api.load_credentials()  # once, and not within the time limits of the batch's requests
        except ClusterError as error:
            return [LaunchResult(run, error=error) for run in claimed.runs]
        except Exception as error:  # as for one run below
            log.exception("credentials not loaded", cluster=claimed.cluster.name)
            return [LaunchResult(run, fault=f"KubeProbe failed to load credentials: {error!r}") for run in claimed.runs]
        slots = asyncio.Semaphore(self.settings.launch_concurrency)

        async def create(run: Run) -> LaunchResult:  # `gather` makes it a task: what it binds ends with it
            bind_contextvars(cluster=run.cluster, run=run.id, attempt=run.attempt)
            async with slots:
                if contact.failure is not None:  # each further request would wait for its own time-out
                    return LaunchResult(run, error=contact.failure)
                try:
                    found = await self._create(api, claimed.cluster, run, catalog)
                except Exception as error:  # one run's error must not stop the others of its batch
                    log.exception("pod not created", case=run.case)
                    return LaunchResult(run, fault=f"KubeProbe failed to create its pod: {error!r}")
                contact.record(found)
                return found

        return list(await asyncio.gather(*(create(run) for run in claimed.runs)))

    async def _create(self, api: ClusterApi, cluster: Cluster, run: Run, catalog: Catalog) -> "LaunchResult":
        pod = self._render(cluster, run, catalog)
        if isinstance(pod, LaunchResult):
            return pod
        passed = self.clock() - (run.claimed_at or run.opened_at)
        if passed > latest_request(self.settings.claim_timeout):
            return LaunchResult(run, too_late=True)
        try:
            async with asyncio.timeout((self.settings.claim_timeout - passed).total_seconds()):
                return await self._create_or_adopt(api, cluster, run, pod, catalog.commits.get(run.case))
        except TimeoutError:  # new credentials after a 401, or adopting, took the rest of the claim
            return LaunchResult(run, too_late=True)

    async def _create_or_adopt(
        self, api: ClusterApi, cluster: Cluster, run: Run, pod: dict[str, Any], commit: str | None
    ) -> "LaunchResult":
        try:
            return _created(run, await api.create_pod(cluster.namespace, pod), commit)
        except ClusterError as error:
            if error.cause is not Cause.ALREADY_EXISTS:
                return LaunchResult(run, error=error)
        return await self._adopt(api, cluster, run, pod)

    def _render(self, cluster: Cluster, run: Run, catalog: Catalog) -> "dict[str, Any] | LaunchResult":
        """The pod of a run, or the result of a run that cannot have one."""
        try:
            return render_pod(catalog, _identity(run, cluster, self.installation), TemplatePolicy.of(self.settings))
        except PolicyError as error:
            return LaunchResult(run, error=PermanentError(Cause.ADMISSION_DENIED, str(error)))
        except NotFoundError as error:
            return LaunchResult(run, judgement=Judgement(Verdict.UNKNOWN, Reason.CASE_REMOVED, str(error)))
        except CatalogUnreadableError as error:
            return LaunchResult(run, judgement=_fault(f"cannot be launched: {error}"))

    async def _adopt(self, api: ClusterApi, cluster: Cluster, run: Run, pod: dict[str, Any]) -> "LaunchResult":
        """A pod of that name exists: ours from an earlier attempt, or another's (failure modes 3 and 5)."""
        try:
            found = await api.get_pod(cluster.namespace, pod["metadata"]["name"])
        except ClusterError as error:
            cause = error.cause if error.cause in UNANSWERED else Cause.CONFLICT
            message = f"The pod could not be adopted: {error.message}"
            return LaunchResult(run, error=TemporaryError(cause, message, status=error.status))
        mine, theirs = pod["metadata"]["labels"], found["metadata"].get("labels") or {}
        if any(theirs.get(name) != mine[name] for name in OWN_LABELS):  # the template's labels may have changed
            message = f"Pod {pod['metadata']['name']} exists in namespace {cluster.namespace} and is not of this run."
            return LaunchResult(run, error=ClusterError(Cause.ALREADY_EXISTS, message, status=409))
        return _created(run, found, run.case_commit)


@dataclass(frozen=True)
class LaunchResult:
    """The result of launching one run: a pod, an error of the cluster, or why no request was completed."""

    run: Run
    pod: CreatedPod | None = None
    error: ClusterError | None = None
    judgement: Judgement | None = None
    """Of a run whose pod cannot be rendered: its case was removed, or is unreadable."""
    fault: str | None = None
    """An error of KubeProbe itself."""
    too_late: bool = False
    """Its claim ends too soon for a request, or ended during one: the next launcher adopts a pod that exists."""


@dataclass
class Contact:
    """What the requests of a batch showed about the cluster: the last one that was sent and has ended decides."""

    responded: bool = False
    is_lost: bool = False
    """A request was sent and got no response."""
    failure: ClusterError | None = None
    """Of the first request without a response, or that could not be sent; no further ones are sent."""

    def record(self, result: LaunchResult) -> None:
        """Note the result of a run whose request has ended, or was not sent."""
        error = result.error
        if error is not None and error.cause in UNANSWERED:
            self.failure = self.failure or error
        if error is not None and error.cause is Cause.CLUSTER_UNREACHABLE:
            self.responded, self.is_lost = False, True
        elif result.pod is not None or (error is not None and error.status is not None):
            self.responded, self.is_lost = True, False


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
    session: Session,
    cluster: Cluster,
    results: list[LaunchResult],
    contact: Contact,
    now: datetime,
    settings: Settings,
) -> Effects:
    """Record the results of a batch."""
    endings = []
    for result in results:
        if result.judgement is not None:
            endings.append(_ending(result.run, result.judgement))
        elif result.error is not None and not isinstance(result.error, TemporaryError):
            endings.append(_ending(result.run, judge_refusal(result.error)))
    setbacks = [setback for each in results if (setback := _setback(each, now))]
    created = [each.pod for each in results if each.pod is not None]
    # Locks in the order of a claim: the cluster, then runs in the order of their ids.
    if contact.is_lost:
        breaker.trip(session, cluster, now)
    elif cluster.trial_until is not None and not contact.responded:
        breaker.end_trial(session, cluster, cluster.trial_until)
    if len(created) < len(results):
        lock_runs(session, [each.run.id for each in results])
    put_off(session, setbacks, now, settings)
    return_claimed(session, [each.run for each in results if each.too_late], now)
    mark_running(session, created, now, settings)
    return Effects(responders=int(bool(close(session, endings, now))))


def _fault(what: str) -> Judgement:
    return Judgement(Verdict.UNKNOWN, Reason.NOT_LAUNCHED, without_nul(f"The run {what}"))


def _ending(run: Run, judgement: Judgement) -> Ending:
    return Ending(run.id, judgement, attempt=run.attempt, claim_token=run.claim_token)


def _created(run: Run, pod: dict[str, Any], commit: str | None) -> LaunchResult:
    """`commit`: of the case that the pod was rendered from; newer than the run's if the case has changed."""
    created = CreatedPod(
        run_id=run.id,
        attempt=run.attempt,
        claim_token=run.claim_token,
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        deadline=timedelta(seconds=pod["spec"]["activeDeadlineSeconds"]),
        case_commit=commit,
    )
    return LaunchResult(run, pod=created)


def _setback(result: LaunchResult, now: datetime) -> Setback | None:
    """Until the back-off has passed, or the cluster's `Retry-After` if that is longer. None: it had no setback."""
    run, error = result.run, result.error
    wait = BACKOFF.pause(run.wakes + 1)
    if result.fault is not None:
        return Setback(run.id, run.attempt, run.claim_token, now + wait, Reason.NOT_LAUNCHED, without_nul(result.fault))
    if not isinstance(error, TemporaryError):
        return None
    if error.retry_after_s is not None:
        wait = max(wait, timedelta(seconds=error.retry_after_s))
    refusal = judge_refusal(error)
    return Setback(run.id, run.attempt, run.claim_token, now + wait, refusal.reason, refusal.message)
