"""Following the pods of one cluster: list, watch, and list again when the watch lost its place (failure modes 8, 9).

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
from kubeprobe.execution.collect.context import FIRST_PAUSE_S, LAST_PAUSE_S, WatchContext
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.judge import judge
from kubeprobe.execution.logs import keep_tail
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.runs import Ending, Judgement, release_postponed
from kubeprobe.store import Cluster, Run, awaits_pod, is_open
from kubeprobe.vocabulary import LABEL_INSTALLATION, LABEL_MANAGED_BY, MANAGED_BY, Reason, RunState, Verdict

log = structlog.get_logger(__name__)

SHORTEST_WATCH_S = 1.0
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
        self._unreached = False
        self._list_again = False
        self._deleting = asyncio.Semaphore(DELETES_AT_A_TIME)
        self._reading = asyncio.Semaphore(LOGS_AT_A_TIME)
        self.nodes = NodeWatch(cluster, context, self._nodes_changed)
        self._selector = f"{LABEL_INSTALLATION}={context.installation},{LABEL_MANAGED_BY}={MANAGED_BY}"

    @property
    def live(self) -> int:
        """Pods whose probe has not ended."""
        return len(self._live)

    async def run(self) -> None:
        """Follow the cluster until cancelled. A cluster that does not answer is asked again, ever more rarely."""
        bind_contextvars(cluster=self.cluster.name)  # for its task only
        pause = FIRST_PAUSE_S
        while True:
            try:
                api = await self._context.clients.get(self.cluster)
                self._list_again = False
                version = await self._reach(api)
                pause = FIRST_PAUSE_S
                while not self._list_again:
                    began = asyncio.get_running_loop().time()
                    version = await self._follow(api, version)
                    if asyncio.get_running_loop().time() - began < SHORTEST_WATCH_S:
                        await asyncio.sleep(LAST_PAUSE_S)  # something between us ends watches at once
                continue
            except ClusterError as error:
                metrics.record_watch_restart("pods", error.cause)
                if error.cause is not Cause.GONE:
                    log.warning("watch broken", cause=error.cause, error=error.message)
            except (SQLAlchemyError, OSError) as error:
                metrics.record_watch_restart("pods", "StoreUnavailable")
                log.warning("watch cannot reach the store", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)

    def check_deadlines(self, now: datetime) -> None:
        """Judge again the pods whose time is up although nothing was heard of them."""
        for seen in [s for s in self._live.values() if s.deadline <= now]:
            self._see(seen.pod)

    async def finish(self, finished: Finished) -> None:
        """The outcome is committed: keep the log of what did not pass, then delete the pod (promise 3)."""
        seen = finished.seen
        if seen is None or finished.deleted:
            return
        bind_contextvars(cluster=self.cluster.name, run=seen.run_id, attempt=seen.attempt)  # for its task only
        # Of a run only one log is kept: that of the attempt that its outcome is of.
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
        self._list_again = True  # once this watch has ended: done in the store, still in the cluster

    async def _remove(self, seen: PodObservation, *, with_log: bool) -> None:
        api = await self._context.clients.get(self.cluster)
        if with_log:
            async with self._reading:
                await keep_tail(api, self.cluster.namespace, seen.name, seen.run_id, self._context)
        async with self._deleting:
            # Of a node that has left, no kubelet would ever say that the pod has ended.
            grace_s = 0 if self.nodes.lacks(seen.node) else None
            await api.delete_pod(self.cluster.namespace, seen.name, seen.uid, grace_s)

    async def _reach(self, api: ClusterApi) -> str:
        """List, and let the breaker know how that went: where nothing is launched, nobody else would notice."""
        try:
            version = await self._list(api)
        except ClusterError as error:
            if error.cause is Cause.CLUSTER_UNREACHABLE:
                await asyncio.to_thread(self._tell_breaker, reached=False)
                self._unreached = True
            raise
        if self._unreached or self.cluster.failures:
            await asyncio.to_thread(self._tell_breaker, reached=True)
            self._unreached = False
        return version

    def _tell_breaker(self, *, reached: bool) -> None:
        with self._context.store.writing() as session:
            if reached:
                if breaker.reset(session, self.cluster.name):
                    release_postponed(session, self.cluster.name, self._context.clock())
            else:
                breaker.trip(session, self.cluster.name, self._context.clock())

    async def _follow(self, api: ClusterApi, version: str) -> str:
        """One watch until the server ends it; gives the version to go on from."""
        watch = api.watch_pods(self.cluster.namespace, self._selector, version)
        async with aclosing(watch) as events, metrics.watching("pods"):
            async for kind, pod in events:
                version = pod["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    self._gone(pod)
                elif kind != "BOOKMARK":
                    self._see(pod)
        return version

    async def _list(self, api: ClusterApi) -> str:
        """Everything anew: what is there, what is gone, and what nobody needs any more.

        The store is read first: a run that had its pod before the list is made must be in the list.
        """
        expected = await asyncio.to_thread(self._runs_with_pods)
        pods, version = await api.list_pods(self.cluster.namespace, self._selector)
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
        for run_id, attempt, uid in expected:
            if uid not in accounted:
                ending = Ending(run_id, Judgement(Verdict.UNKNOWN, Reason.POD_DELETED, told), attempt)
                self._context.committer.submit(Finished(self, ending))
        return str(version)

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
        with bound_contextvars(cluster=self.cluster.name, run=seen.run_id, attempt=seen.attempt):
            try:
                found = judge(seen.pod, seen.policy, self._context.clock(), deleted=deleted)
                gone = self.nodes.lacks(seen.node) and (found is None or found.verdict is Verdict.UNKNOWN)
                return _node_gone(seen.node) if gone else found
            except (LookupError, TypeError, ValueError, AttributeError):
                log.exception("pod makes no sense", pod=seen.name)
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
