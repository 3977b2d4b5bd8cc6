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

from kubeprobe.execution.collect.committer import Finished
from kubeprobe.execution.collect.context import WatchContext
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.judge import judge
from kubeprobe.execution.logs import keep_tail
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.reflector import Changed, Deleted, Event, Listed, ListFailed, Listing, Reflector, WatchFailed
from kubeprobe.runs import Ending, Judgement, release_postponed
from kubeprobe.store import Cluster, Run, awaits_pod, is_open
from kubeprobe.vocabulary import LABEL_INSTALLATION, LABEL_MANAGED_BY, MANAGED_BY, Reason, RunState, Verdict

log = structlog.get_logger(__name__)

DELETES_AT_A_TIME = 8
"""Outcomes come first: more of them compete with the creations of other pods for the API server."""
LOGS_AT_A_TIME = 8
"""Counted apart: logs that hang do not keep other pods from being deleted (failure mode 11)."""
DELETE_PAUSES_S = (1.0, 5.0, 30.0)
"""Before a deletion that failed is tried again."""
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
"""Ends of probes that had, or may have had, no time to clean up."""


class ClusterWatch:
    """Sees every pod of this installation in one cluster until its probe has ended and its outcome is stored."""

    def __init__(self, cluster: Cluster, context: WatchContext) -> None:
        self.cluster = cluster
        self._context = context
        self.probe_killed_at: datetime | None = None
        """When a probe last ended without having cleaned up, as far as can be told: see `sweeper`."""
        self._live: dict[str, PodObservation] = {}
        self._finishing: set[str] = set()
        self._expected: list[tuple[str, int, str | None]] = []
        """The runs with a pod, read before the list is requested: their pods must be in it."""
        self._is_unreachable = False
        self._deleting = asyncio.Semaphore(DELETES_AT_A_TIME)
        self._reading = asyncio.Semaphore(LOGS_AT_A_TIME)
        self.nodes = NodeWatch(cluster, context, self._nodes_changed)
        selector = f"{LABEL_INSTALLATION}={context.installation},{LABEL_MANAGED_BY}={MANAGED_BY}"
        self._reflector = Reflector(self._connect, pods_path(cluster.namespace), selector)

    @property
    def live(self) -> int:
        """Pods whose probe has not ended."""
        return len(self._live)

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        while True:
            try:
                async with aclosing(self._reflector.events()) as events:
                    async for event in events:
                        await self._handle(event)
            except (SQLAlchemyError, OSError) as error:
                log.warning("database unavailable; pods not listed", cluster=self.cluster.name, error=str(error))

    def check_deadlines(self, now: datetime) -> None:
        """Judge again the pods whose time is up although nothing was heard of them."""
        for seen in [s for s in self._live.values() if s.deadline <= now]:
            self._see(seen.pod)

    async def finish(self, finished: Finished) -> None:
        """The outcome is committed: keep the log of what did not pass, then delete the pod (promise 3)."""
        seen = finished.seen
        if seen is None or finished.deleted:
            return
        # Of a run only one log is kept: that of the attempt that its outcome is of.
        with_log = finished.ending.judgement.verdict is not Verdict.PASS and not finished.ending.is_tried_again()
        for pause in (*DELETE_PAUSES_S, None):
            try:
                await self._remove(seen, with_log=with_log)
            except ClusterError as error:
                log.warning("pod not deleted", cluster=self.cluster.name, pod=seen.name, error=error.message)
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
                await keep_tail(api, self.cluster.namespace, seen.name, seen.run_id, self._context)
        async with self._deleting:
            # Of a node that has left, no kubelet would ever say that the pod has ended.
            grace_s = 0 if self.nodes.lacks(seen.node) else None
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
                self._see(pod)
            case Deleted(pod):
                self._gone(pod)
            case ListFailed(error):
                self._log_failure(error)
                if error.cause is Cause.CLUSTER_UNREACHABLE:  # where nothing is launched, no launcher would notice
                    self._is_unreachable = True
                    await asyncio.to_thread(self._set_breaker, reached=False)
            case WatchFailed(error):
                self._log_failure(error)

    def _log_failure(self, error: ClusterError) -> None:
        if error.cause is not Cause.GONE:
            log.warning("pods not followed", cluster=self.cluster.name, cause=error.cause, error=error.message)

    def _set_breaker(self, *, reached: bool) -> None:
        with self._context.store.writing() as session:
            if reached:
                if breaker.reset(session, self.cluster.name):
                    release_postponed(session, self.cluster.name, self._context.clock())
            else:
                breaker.trip(session, self.cluster.name, self._context.clock())

    async def _replace(self, pods: list[dict[str, Any]]) -> None:
        """A complete list: judge the pods that there are and those that are gone, delete leftovers."""
        present = {pod["metadata"]["uid"] for pod in pods}
        vanished = [s for uid, s in self._live.items() if uid not in present]
        for seen in vanished:
            self._gone(seen.pod)
        accounted = present | self._finishing | {s.uid for s in vanished}
        self._finishing &= present
        ended = await asyncio.to_thread(self._ended_among, pods)
        for pod in pods:
            self._see(pod, ended)
        told = "The pod was gone when KubeProbe came to look, and not deleted by it."
        for run_id, attempt, uid in self._expected:
            if uid not in accounted:
                ending = Ending(run_id, Judgement(Verdict.UNKNOWN, Reason.POD_DELETED, told), attempt)
                self._context.committer.submit(Finished(self, ending))

    def _see(self, pod: dict[str, Any], ended: Iterable[tuple[str, int]] = ()) -> None:
        """A pod as it is now."""
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

    def _gone(self, pod: dict[str, Any]) -> None:
        """A pod that is no more: most often because we deleted it."""
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
        """None, too, where nobody can make sense of the pod: it must not cost its cluster the watch."""
        try:
            found = judge(seen.pod, seen.policy, self._context.clock(), deleted=deleted)
            gone = self.nodes.lacks(seen.node) and (found is None or found.verdict is Verdict.UNKNOWN)
            return _node_gone(seen.node) if gone else found
        except (LookupError, TypeError, ValueError, AttributeError):
            log.exception("pod makes no sense", cluster=self.cluster.name, pod=seen.name)
            return None

    def _submit(self, seen: PodObservation, judgement: Judgement, *, deleted: bool) -> None:
        self._live.pop(seen.uid, None)
        if judgement.reason in KILLED:
            self.probe_killed_at = self._context.clock()
        if not deleted:
            self._finishing.add(seen.uid)
        self._context.committer.submit(Finished(self, seen.ending(judgement), seen, deleted=deleted))

    async def _nodes_changed(self, left: Collection[str]) -> None:
        """Nodes are listed, or these have left: end the runs that were to run where there is nothing any more."""
        for seen in list(self._live.values()):
            if self.nodes.lacks(seen.node):
                self._see(seen.pod)
        for run_id, attempt, node in await asyncio.to_thread(self._waiting_for, left) if left else ():
            self._context.committer.submit(Finished(self, Ending(run_id, _node_gone(node), attempt)))

    def _waiting_for(self, nodes: Collection[str]) -> list[tuple[str, int, str | None]]:
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
        """(run, attempt) of those pods that no open run answers for any more: leftovers."""
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
