"""Following the pods of one cluster by list and watch (failure modes 8, 9).

Next: what has ended goes to the `committer`, which calls back to have the pod deleted.
"""

import asyncio
from collections.abc import Collection, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select
from structlog.contextvars import bind_contextvars, bound_contextvars

from kubeprobe import metrics
from kubeprobe.execution.collect.committer import Finished
from kubeprobe.execution.collect.context import WatchContext
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.judge import judge
from kubeprobe.execution.logs import store_tail
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.reflector import Changed, Deleted, Event, Listed, ListFailed, Listing, Reflector, WatchFailed
from kubeprobe.runs import Ending, Judgement, release_postponed
from kubeprobe.store import Cluster, Run, awaits_pod, is_open
from kubeprobe.vocabulary import LABEL_INSTALLATION, LABEL_MANAGED_BY, MANAGED_BY, Reason, RunState, Verdict

log = structlog.get_logger(__name__)

DELETES_AT_A_TIME = 8
"""Concurrent deletions: more would compete with the creations of pods for the API server."""
LOGS_AT_A_TIME = 8
"""A limit of its own: hanging log requests do not delay deletions (failure mode 11)."""
DELETE_PAUSES_S = (1.0, 5.0, 30.0)
"""Before a failed deletion is tried again."""
LOOKUP = 500
KILLED = frozenset(
    {
        Reason.RUN_DEADLINE,
        Reason.OOM_KILLED,
        Reason.EVICTED,
        Reason.PREEMPTED,
        Reason.NODE_LOST,
        Reason.POD_DELETED,
        Reason.REPLACED,
        Reason.REPORT_MISSING,
    }
)
"""Reasons of probes that were or may have been killed before they could clean up."""


class ClusterWatch:
    """Follows the pods of this installation in one cluster until their outcomes are stored and they are deleted."""

    def __init__(self, cluster: Cluster, context: WatchContext) -> None:
        self.cluster = cluster
        self._context = context
        self.probe_killed_at: datetime | None = None
        """When a probe last ended with one of the reasons of `KILLED`; for `sweeper`."""
        self._live: dict[str, PodObservation] = {}
        self._finishing: set[str] = set()
        self._expected: list[tuple[str, int, str | None]] = []
        """The runs with a pod, read before the list is requested: their pods must be in it."""
        self._is_unreachable = False
        self._deleting = asyncio.Semaphore(DELETES_AT_A_TIME)
        self._reading = asyncio.Semaphore(LOGS_AT_A_TIME)
        self.nodes = NodeWatch(cluster, context, self._nodes_changed)
        selector = f"{LABEL_INSTALLATION}={context.installation},{LABEL_MANAGED_BY}={MANAGED_BY}"
        self._reflector = Reflector(self._connect, pods_path(cluster.namespace), selector, measured_as="pods")

    @property
    def live(self) -> int:
        """Pods whose probe has not ended."""
        return len(self._live)

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        bind_contextvars(cluster=self.cluster.name)  # for its task only
        while True:
            try:
                async with aclosing(self._reflector.events()) as events:
                    async for event in events:
                        await self._handle(event)
            except (SQLAlchemyError, OSError) as error:
                metrics.record_watch_failure("pods", "StoreUnavailable")
                log.warning("database unavailable; pods not listed", error=str(error))

    def check_deadlines(self, now: datetime) -> None:
        """Judge the pods again whose deadline has passed without an event."""
        for seen in [s for s in self._live.values() if s.deadline <= now]:
            self._observe(seen.pod)

    async def finish(self, finished: Finished) -> None:
        """The outcome is committed: store the log if it did not pass, then delete the pod (promise 3)."""
        seen = finished.seen
        if seen is None or finished.deleted:
            return
        bind_contextvars(cluster=self.cluster.name, run=seen.run_id, attempt=seen.attempt)  # for its task only
        # One log per run: that of its last attempt.
        with_log = finished.ending.judgement.verdict is not Verdict.PASS and not finished.ending.is_retried()
        for pause in (*DELETE_PAUSES_S, None):
            try:
                await self._remove(seen, with_log=with_log)
            except ClusterError as error:
                log.warning("pod not deleted", pod=seen.name, error=error.message)
            else:
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._finishing.discard(seen.uid)
        self._reflector.request_list()  # done in the store, still in the cluster

    async def _remove(self, seen: PodObservation, *, with_log: bool) -> None:
        api = await self._context.clients.get(self.cluster)
        if with_log:
            async with self._reading:
                await store_tail(api, self.cluster.namespace, seen.name, seen.run_id, self._context)
        async with self._deleting:
            # No kubelet would ever confirm the end of a pod whose node has left.
            grace_s = 0 if self.nodes.has_left(seen.node) else None
            await api.delete_pod(self.cluster.namespace, seen.name, seen.uid, grace_s)

    async def _connect(self) -> ClusterApi:
        return await self._context.clients.get(self.cluster)

    async def _handle(self, event: Event) -> None:
        match event:
            case Listing():
                self._expected = await asyncio.to_thread(self._runs_with_pods)
            case Listed(pods):
                await self._replace(pods)
                if self._is_unreachable or self.cluster.failures:
                    await asyncio.to_thread(self._set_breaker, reached=True)
                    self._is_unreachable = False
            case Changed(pod):
                self._observe(pod)
            case Deleted(pod):
                self._observe_deletion(pod)
            case ListFailed(error):
                self._log_failure(error)
                if error.cause is Cause.CLUSTER_UNREACHABLE:  # where nothing is launched, no launcher would notice
                    self._is_unreachable = True
                    await asyncio.to_thread(self._set_breaker, reached=False)
            case WatchFailed(error):
                self._log_failure(error)

    def _log_failure(self, error: ClusterError) -> None:
        if error.cause is not Cause.GONE:
            log.warning("pods not followed", cause=error.cause, error=error.message)

    def _set_breaker(self, *, reached: bool) -> None:
        with self._context.store.writing() as session:
            if reached:
                if breaker.reset(session, self.cluster.name):
                    release_postponed(session, self.cluster.name, self._context.clock())
            else:
                breaker.trip(session, self.cluster.name, self._context.clock())

    async def _replace(self, pods: list[dict[str, Any]]) -> None:
        """A complete list: judge its pods, those that are missing in it, and those whose run has ended."""
        present = {pod["metadata"]["uid"] for pod in pods}
        vanished = [s for uid, s in self._live.items() if uid not in present]
        for seen in vanished:
            self._observe_deletion(seen.pod)
        accounted = present | self._finishing | {s.uid for s in vanished}
        self._finishing &= present
        ended = await asyncio.to_thread(self._ended_among, pods)
        for pod in pods:
            self._observe(pod, ended)
        message = "The pod was already deleted, not by KubeProbe."
        for run_id, attempt, uid in self._expected:
            if uid not in accounted:
                ending = Ending(run_id, Judgement(Verdict.UNKNOWN, Reason.POD_DELETED, message), attempt)
                self._context.committer.submit(Finished(self, ending))

    def _observe(self, pod: dict[str, Any], ended: Iterable[tuple[str, int]] = ()) -> None:
        """Judge a pod's current state."""
        seen = PodObservation.read(pod)
        if seen is None or seen.uid in self._finishing:
            return
        judgement = self._judge(seen)
        if judgement is None and (seen.run_id, seen.attempt) in ended:
            judgement = Judgement(Verdict.UNKNOWN, Reason.REPLACED, "The run had its outcome before its pod ended.")
        if judgement is None:
            self._live[seen.uid] = seen
            return
        self._submit(seen, judgement, deleted=False)

    def _observe_deletion(self, pod: dict[str, Any]) -> None:
        """Judge a deleted pod by its last state, unless we deleted it."""
        uid = pod["metadata"]["uid"]
        if uid in self._finishing:
            self._finishing.discard(uid)
            return
        seen = PodObservation.read(pod)
        if seen is None:
            return
        self._live.pop(uid, None)
        if judgement := self._judge(seen, deleted=True):
            self._submit(seen, judgement, deleted=True)

    def _judge(self, seen: PodObservation, *, deleted: bool = False) -> Judgement | None:
        """None also if the pod cannot be judged: that must not end the watch of its cluster."""
        with bound_contextvars(cluster=self.cluster.name, run=seen.run_id, attempt=seen.attempt):
            try:
                found = judge(seen.pod, seen.policy, self._context.clock(), deleted=deleted)
                node_has_left = self.nodes.has_left(seen.node) and (found is None or found.verdict is Verdict.UNKNOWN)
                return _node_gone(seen.node) if node_has_left else found
            except (LookupError, TypeError, ValueError, AttributeError):
                log.exception("pod cannot be judged", pod=seen.name)
                return None

    def _submit(self, seen: PodObservation, judgement: Judgement, *, deleted: bool) -> None:
        self._live.pop(seen.uid, None)
        if judgement.reason in KILLED:
            self.probe_killed_at = self._context.clock()
        if not deleted:
            self._finishing.add(seen.uid)
        self._context.committer.submit(Finished(self, seen.ending(judgement), seen, deleted=deleted))

    async def _nodes_changed(self, left: Collection[str]) -> None:
        """After a list of nodes, or when these have left: end the runs on nodes that have left."""
        for seen in list(self._live.values()):
            if self.nodes.has_left(seen.node):
                self._observe(seen.pod)
        for run_id, attempt, node in await asyncio.to_thread(self._pending_runs, left) if left else ():
            self._context.committer.submit(Finished(self, Ending(run_id, _node_gone(node), attempt)))

    def _pending_runs(self, nodes: Collection[str]) -> list[tuple[str, int, str | None]]:
        """The runs for these nodes that have no pod yet."""
        with self._context.store.reading() as session:
            waiting = select(Run.id, Run.attempt, Run.node).where(
                Run.cluster == self.cluster.name, awaits_pod(), is_open(), col(Run.node).in_(nodes)
            )
            return [(row[0], row[1], row[2]) for row in session.exec(waiting)]

    def _runs_with_pods(self) -> list[tuple[str, int, str | None]]:
        with self._context.store.reading() as session:
            running = select(Run.id, Run.attempt, Run.pod_uid).where(
                Run.cluster == self.cluster.name, is_open(), Run.state == RunState.RUNNING
            )
            return [(row[0], row[1], row[2]) for row in session.exec(running)]

    def _ended_among(self, pods: list[dict[str, Any]]) -> set[tuple[str, int]]:
        """(run, attempt) of the pods that belong to no open run."""
        found = {(s.run_id, s.attempt) for s in map(PodObservation.read, pods) if s is not None}
        ids = sorted({run_id for run_id, _ in found})
        still_open: set[tuple[str, int]] = set()
        with self._context.store.reading() as session:
            for part in (ids[i : i + LOOKUP] for i in range(0, len(ids), LOOKUP)):
                runs = select(Run.id, Run.attempt).where(col(Run.id).in_(part), is_open())
                still_open |= {(row[0], row[1]) for row in session.exec(runs)}
        return found - still_open


def _node_gone(node: str | None) -> Judgement:
    return Judgement(Verdict.UNKNOWN, Reason.NODE_GONE, f"Node {node} has left the cluster.", node=node)
