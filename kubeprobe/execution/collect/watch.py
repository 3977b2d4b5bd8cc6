"""Following the pods of one cluster by list and watch (failure modes 8, 9).

Next: what has ended goes to the `committer`, which calls back to have the pod deleted.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, or_, select
from structlog.contextvars import bind_contextvars, bound_contextvars

from kubeprobe import metrics
from kubeprobe.backoff import Backoff
from kubeprobe.execution.collect.committer import Finished
from kubeprobe.execution.collect.context import WatchContext
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.collect.troubles import Troubles, WatchTrouble
from kubeprobe.execution.judge import judge
from kubeprobe.execution.locations import former_cluster
from kubeprobe.execution.logs import store_tail
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError, TemporaryError
from kubeprobe.fleet.reflector import (
    Changed,
    Deleted,
    Event,
    Listed,
    ListFailed,
    Listing,
    Malformed,
    Reflector,
    WatchFailed,
)
from kubeprobe.runs import Ending, Judgement, release_postponed
from kubeprobe.store import Cluster, PodLocation, Run, awaits_pod, is_open
from kubeprobe.vocabulary import LABEL_INSTALLATION, LABEL_MANAGED_BY, LABEL_RUN, MANAGED_BY, Reason, RunState, Verdict

log = structlog.get_logger(__name__)

DELETES_AT_A_TIME = 8
"""Concurrent deletions: more would compete with the creations of pods for the API server."""
LOGS_AT_A_TIME = 8
"""A limit of its own: hanging log requests do not delay deletions (failure mode 11)."""
DELETE_BACKOFF = Backoff(first=timedelta(seconds=1), longest=timedelta(minutes=10), factor=5)
"""The pauses before a failed deletion is tried again."""
SHOWN_AFTER = 4
"""Failed deletions of a pod, within some two minutes. `doctor` shows it from then on."""
GIVEN_UP_AFTER = 20
"""Failed deletions, some three hours: what forbids them will not change by itself."""
TROUBLE_LENGTH = 1000
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

    def __init__(
        self, cluster: Cluster, context: WatchContext, location: str, former: PodLocation | None = None
    ) -> None:
        """`location`: where its pods are. `former`: the same, if the cluster has left it."""
        self.cluster = cluster if former is None else former_cluster(former, cluster)
        self.former = former
        self.location = location
        self._is_listed = False
        self._has_ended = False
        """The cluster was removed or moved, or another collector has it."""
        self.recorded = cluster.watch_trouble
        """The trouble in the cluster's row; written by the collector."""
        self._context = context
        self.probe_killed_at: datetime | None = None
        """When a probe last ended with one of the reasons of `KILLED`; for `sweeper`."""
        self._live: dict[str, PodObservation] = {}
        self._finishing: set[str] = set()
        self._expected: list[tuple[str, int, str | None]] = []
        """The runs with a pod, read before the list is requested: their pods must be in it."""
        self._is_unreachable = False
        self._set_aside, self._undeletable = Troubles(), Troubles()
        self._watching = WatchTrouble("pods", context.clock, has_breaker=former is None)
        self._api: ClusterApi | None = None
        self._deleting = asyncio.Semaphore(DELETES_AT_A_TIME)
        self._reading = asyncio.Semaphore(LOGS_AT_A_TIME)
        self.nodes = NodeWatch(cluster, context, self.connect, self._nodes_changed)
        selector = f"{LABEL_INSTALLATION}={context.installation},{LABEL_MANAGED_BY}={MANAGED_BY}"
        self._reflector = Reflector(self.connect, pods_path(self.cluster.namespace), selector, measured_as="pods")

    @property
    def live(self) -> int:
        """Pods whose probe has not ended."""
        return len(self._live)

    @property
    def is_drained(self) -> bool:
        """Whether no pod of this installation is left."""
        return self._is_listed and not (self._live or self._finishing or self._set_aside)

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        try:
            await self._follow()
        finally:
            self._has_ended = True

    async def _follow(self) -> None:
        bind_contextvars(cluster=self.cluster.name)  # for its task only
        while True:
            try:
                async with aclosing(self._reflector.events()) as events:
                    async for event in events:
                        await self._handle(event)
            except (SQLAlchemyError, OSError) as error:
                metrics.record_watch_failure("pods", "StoreUnavailable")
                log.warning("database unavailable; pods not listed", error=str(error))
            except Exception as error:  # a fault of KubeProbe: listed again after a pause, which grows
                metrics.record_watch_failure("pods", "Crashed")
                self._watching.note_crash(error)
                log.exception("watch failed; listing again")

    @property
    def trouble(self) -> str:
        """What cannot be done in this cluster, for people; empty: nothing."""
        found = (
            self._watching.describe(),
            self._set_aside.describe("pods set aside"),
            self._undeletable.describe("pods not deleted"),
            self.nodes.trouble,
        )
        return "; ".join(filter(None, found))[:TROUBLE_LENGTH]

    def check_deadlines(self, now: datetime) -> None:
        """Judge the pods again whose deadline has passed without an event; `now` is by our clock."""
        theirs = now + self._clock_offset
        for seen in [s for s in self._live.values() if s.deadline <= theirs]:
            self._isolate(seen.pod, self._observe)

    async def finish(self, finished: Finished) -> None:
        """The outcome is committed: store the log if it did not pass, then delete the pod (promise 3)."""
        seen = finished.seen
        if seen is None or finished.deleted:
            return
        bind_contextvars(cluster=self.cluster.name, run=seen.run_id, attempt=seen.attempt)  # for its task only
        # One log per run: that of its last attempt.
        with_log = finished.ending.judgement.verdict is not Verdict.PASS and not finished.ending.is_retried()
        for failures in itertools.count(1):
            try:
                if with_log:
                    with_log = not await self._store_log(seen)
                await self._remove(seen)
            except Exception as error:  # noqa: BLE001 - whatever it was, the pod is to be deleted
                message = error.message if isinstance(error, ClusterError) else repr(error)
                is_temporary = isinstance(error, TemporaryError)
                log.warning("pod not deleted", pod=seen.name, failures=failures, error=message)
            else:
                self._undeletable.remove(seen.uid)
                return
            if failures >= SHOWN_AFTER:
                self._undeletable.add(seen.uid, f"{seen.name}: {message}")
            if self._has_ended or (failures >= GIVEN_UP_AFTER and not is_temporary):
                return  # until another watch of the cluster lists it
            await asyncio.sleep(DELETE_BACKOFF.pause(failures).total_seconds())
            if seen.uid not in self._finishing:
                return  # it is gone

    async def _store_log(self, seen: PodObservation) -> bool:
        async with self._reading:
            return await store_tail(await self.connect(), self.cluster.namespace, seen.name, seen.run_id, self._context)

    async def _remove(self, seen: PodObservation) -> None:
        api = await self.connect()
        async with self._deleting:
            # No kubelet would ever confirm the end of a pod whose node has left.
            grace_s = 0 if self.nodes.has_left(seen.node) else None
            await api.delete_pod(self.cluster.namespace, seen.name, seen.uid, grace_s)
        await self._note_response()

    async def connect(self) -> ClusterApi:
        """The API where the pods are: the only client of this collector there."""
        self._api = await self._context.clients.get(self.cluster, self.location)
        return self._api

    @property
    def _clock_offset(self) -> timedelta:
        """Of the cluster's clock."""
        return timedelta(0) if self._api is None else self._api.clock_offset

    def _read(self, pod: dict[str, Any]) -> PodObservation | None:
        metadata = pod["metadata"]
        found = PodObservation.read(pod, self._context.clock() + self._clock_offset, self._live.get(metadata["uid"]))
        if found is None and LABEL_RUN in (metadata.get("labels") or {}):
            raise ValueError("its annotations, labels or times are invalid")
        return found

    async def _handle(self, event: Event) -> None:
        match event:
            case Listing():
                self._expected = await asyncio.to_thread(self._runs_with_pods)
            case Listed(pods):
                await self._replace(pods)
                await self._note_response()
            case Changed(pod):
                self._isolate(pod, self._observe)
                await self._note_response()
            case Deleted(pod):
                self._isolate(pod, self._observe_deletion)
                self._set_aside.remove(pod["metadata"]["uid"])
                await self._note_response()
            case Malformed(problem):
                metrics.record_set_aside("pods")
                self._set_aside.add("", problem)
            case ListFailed(error):
                self._log_failure(error)
                if error.cause is Cause.CLUSTER_UNREACHABLE:  # where nothing is launched, no launcher would notice
                    self._is_unreachable = True
                    await asyncio.to_thread(self._set_breaker, reached=False)
            case WatchFailed(error):
                self._log_failure(error)

    def _log_failure(self, error: ClusterError) -> None:
        self._watching.note_failure(error)
        if error.cause is not Cause.GONE:
            log.warning("pods not followed", cause=error.cause, error=error.message)

    async def _note_response(self) -> None:
        """Close the breaker: at the cap on pods no launcher would, and nothing is listed while a watch lasts."""
        if not self._is_unreachable and not self.cluster.failures:
            return
        try:
            await asyncio.to_thread(self._set_breaker, reached=True)
        except (SQLAlchemyError, OSError) as error:
            log.warning("database unavailable; breaker not closed", error=str(error))
        else:
            self._is_unreachable, self.cluster.failures = False, 0

    def _set_breaker(self, *, reached: bool) -> None:
        if self.former is not None or self._has_ended:  # the breaker is about the present location
            return
        with self._context.store.writing() as session:
            if reached:
                if breaker.reset(session, self.cluster):
                    release_postponed(session, self.cluster.name, self._context.clock())
            else:
                breaker.trip(session, self.cluster, self._context.clock())

    async def _replace(self, pods: list[dict[str, Any]]) -> None:
        """A complete list: judge its pods, those that are missing in it, and those whose run has ended."""
        present = {pod["metadata"]["uid"] for pod in pods}
        vanished = [s for uid, s in self._live.items() if uid not in present]
        for seen in vanished:
            self._isolate(seen.pod, self._observe_deletion)
        accounted = present | self._finishing | {s.uid for s in vanished}
        self._finishing &= present
        self._set_aside.keep(present)
        self._undeletable.keep(present)
        ended = await asyncio.to_thread(self._ended_among, pods)
        for pod in pods:
            self._isolate(pod, lambda pod: self._observe(pod, ended))
        self._is_listed = True
        self._watching.note_list()
        message = "The pod was already deleted, not by KubeProbe."
        for run_id, attempt, uid in self._expected:
            if uid not in accounted:
                ending = Ending(run_id, Judgement(Verdict.UNKNOWN, Reason.POD_DELETED, message), attempt)
                self._context.committer.submit(Finished(self, ending))

    def _isolate(self, pod: dict[str, Any], handle: Callable[[dict[str, Any]], None]) -> None:
        """Handle one pod; one that cannot be handled is set aside, so that it stops no other."""
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        try:
            handle(pod)
        except Exception as error:
            metrics.record_set_aside("pods")
            if self._set_aside.add(uid, f"{name}: {error!r}"):
                log.exception("pod set aside", pod=name)

    def _observe(self, pod: dict[str, Any], ended: Iterable[tuple[str, int]] = ()) -> None:
        """Judge a pod's current state."""
        seen = self._read(pod)
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
            self._undeletable.remove(uid)
            return
        seen = self._read(pod)
        if seen is None:
            return
        self._live.pop(uid, None)
        if judgement := self._judge(seen, deleted=True):
            self._submit(seen, judgement, deleted=True)

    def _judge(self, seen: PodObservation, *, deleted: bool = False) -> Judgement | None:
        """None also if the pod cannot be judged: it is set aside, and judged again at its next event."""
        with bound_contextvars(cluster=self.cluster.name, run=seen.run_id, attempt=seen.attempt):
            try:
                now = self._context.clock() + self._clock_offset
                found = judge(seen.pod, seen.policy, now, deleted=deleted, running_since=seen.running_since)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                metrics.record_set_aside("pods")
                if self._set_aside.add(seen.uid, f"{seen.name}: cannot be judged: {error!r}"):
                    log.exception("pod cannot be judged", pod=seen.name)
                return None
        self._set_aside.remove(seen.uid)
        node_has_left = self.nodes.has_left(seen.node) and (found is None or found.verdict is Verdict.UNKNOWN)
        return _node_gone(seen.node) if node_has_left else found

    def _submit(self, seen: PodObservation, judgement: Judgement, *, deleted: bool) -> None:
        self._live.pop(seen.uid, None)
        if judgement.reason in KILLED:
            self.probe_killed_at = self._context.clock()
        if not deleted:
            self._finishing.add(seen.uid)
        self._context.committer.submit(
            Finished(self, seen.ending(judgement, self._clock_offset), seen, deleted=deleted)
        )

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
            here = col(Run.location) == self.location
            if self.former is None:  # or the run was launched by a version of KubeProbe that recorded no locations
                here = or_(here, col(Run.location).is_(None))
            running = select(Run.id, Run.attempt, Run.pod_uid).where(
                Run.cluster == self.cluster.name, is_open(), Run.state == RunState.RUNNING, here
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
