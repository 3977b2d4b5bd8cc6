"""Runs a probe once in a cluster, outside of any installation: create, watch, judge, delete, sweep.

The pod is the same that a launcher would create, and the verdict the same as a collector's. Nothing is stored. Its
label names no installation, so that no collector touches it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from ulid import ULID

from kubeprobe.authoring.folder import ProbeFolder
from kubeprobe.authoring.sweeping import creatable_by, describe, sweep_trial
from kubeprobe.catalog import RunIdentity, check_parameters, render_pod
from kubeprobe.catalog.setup import Creatable
from kubeprobe.clock import Clock
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.judge import judge, judge_refusal
from kubeprobe.fleet.api import NODES_PATH, ClusterApi, object_problem, pods_path
from kubeprobe.fleet.errors import UNANSWERED, Cause, ClusterError
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.fleet.labels import node_problem
from kubeprobe.fleet.reflector import follow_object
from kubeprobe.names import nearest
from kubeprobe.runs import Judgement
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import LABEL_CASE, LABEL_INSTALLATION, LABEL_RUN

TRIAL = "kubeprobe-trial"
"""The label `kubeprobe.io/installation` of everything that a trial creates."""
_LOG_LINES = 200
_RETRIED = UNANSWERED | {Cause.SERVER_ERROR, Cause.THROTTLED}
_SHORTEST_WAIT_S = 0.05
_GRACE_S = 60
_TERMINATION_S = 30
"""The default of terminationGracePeriodSeconds."""
_DELETION_S = 10


@dataclass(frozen=True)
class ByHand:
    """Parameters and node of one trial."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None
    """The node that the pod is pinned to; None: the scheduler chooses."""

    @classmethod
    def checked(cls, parameters: Mapping[str, str], node: str | None) -> Self:
        """Validated by the same rules as a run's. Raises InvalidInputError."""
        if node is not None and (problem := node_problem(node)):
            raise InvalidInputError(f"node: {problem}")
        return cls(check_parameters(parameters), node)


@dataclass(frozen=True)
class Trial:
    """The result of a trial."""

    run_id: str
    given: ByHand
    judgement: Judgement
    log: str
    opened_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class TrialContext:
    """The cluster of a trial, and where its progress is reported."""

    api: ClusterApi
    cluster: Cluster
    clock: Clock
    on_phase: Callable[[str], None]
    """Called with each new phase of the pod."""
    on_warning: Callable[[str], None]
    """Called with messages about leftovers."""


async def try_probe(folder: ProbeFolder, context: TrialContext, given: ByHand) -> Trial:
    """Run the probe; its pod and its leftovers are deleted in any case.

    Raises ClusterError if the cluster is unreachable, NotFoundError if it has no such node.
    """
    cluster, opened_at = context.cluster, context.clock()
    if given.node is not None:
        await _check_node(given.node, context)
    identity = RunIdentity(
        run_id=str(ULID()).lower(),
        installation=TRIAL,
        case=folder.case,
        cluster=cluster.name,
        cluster_labels=cluster.labels,
        namespace=cluster.namespace,
        trigger="manual",
        node=given.node,
        parameters=given.parameters,
    )
    catalog = folder.catalog()
    pod = render_pod(catalog, identity)
    try:
        created = await context.api.create_pod(cluster.namespace, pod)
    except ClusterError as error:
        if error.cause in UNANSWERED:
            raise
        return Trial(identity.run_id, given, judge_refusal(error), "", opened_at, context.clock())
    seen = PodObservation.read(created)
    assert seen is not None, "a rendered pod carries its run"
    try:
        await _delete_leftovers(context, created)
        judgement = await _follow(seen, context)
        log = await _read_log(seen, context)
        ended_at = context.clock()
    finally:
        await context.api.delete_pod(cluster.namespace, seen.name, seen.uid)
        await _sweep(seen, creatable_by(catalog, identity), identity, context)
    return Trial(identity.run_id, given, judgement, log, opened_at, ended_at)


async def _check_node(name: str, context: TrialContext) -> None:
    """Kubernetes accepts a pod for a node that does not exist. Without the right to list nodes, nothing is checked."""
    try:
        known = [node["name"] for node in await Inventory(context.api).find(NODES_PATH, "")]
    except ClusterError as error:
        if error.cause is not Cause.FORBIDDEN:
            raise
        return
    if name not in known:
        raise NotFoundError(f"Cluster {context.cluster.name} has no node {name!r}.{nearest(name, known)}")


async def _follow(created: PodObservation, context: TrialContext) -> Judgement:
    """Watch the pod until its run is over."""
    following = _Following(created, context)
    while True:  # again only where a deadline has passed by the loop's clock and not yet by ours
        with suppress(TimeoutError):
            return await following.judge_states()


@dataclass
class _Following:
    """The newest state of a pod that is followed."""

    seen: PodObservation
    context: TrialContext
    shown: str = ""
    """The phase that was shown last."""

    async def judge_states(self) -> Judgement:
        """The judgement of the first state that has one. Raises TimeoutError when the pod's deadline passes."""
        async with asyncio.timeout(None) as limit, aclosing(_states(self.seen, self.context)) as states:
            async for self.seen, deleted in states:
                now = self.context.clock() + self.context.api.clock_offset
                if judgement := judge(self.seen.pod, self.seen.policy, now, deleted=deleted):
                    return judgement
                self._show_phase()
                left_s = (self.seen.deadline - now).total_seconds()
                limit.reschedule(asyncio.get_running_loop().time() + max(left_s, _SHORTEST_WAIT_S))
        raise TimeoutError  # the watch has ended without a judgement: it starts again

    def _show_phase(self) -> None:
        phase = str((self.seen.pod.get("status") or {}).get("phase") or "Pending").lower()
        if phase != self.shown:
            self.context.on_phase(phase)
        self.shown = phase


async def _states(seen: PodObservation, context: TrialContext) -> AsyncGenerator[tuple[PodObservation, bool], None]:
    """The pod's states from `seen` on, and whether it was deleted. An unreachable cluster is tried again."""
    yield seen, False
    path, selector = pods_path(context.cluster.namespace), f"{LABEL_RUN}={seen.run_id}"
    async with aclosing(follow_object(context.api, path, selector, seen.pod, _RETRIED)) as states:
        async for pod, deleted in states:
            seen = PodObservation.read(pod) or seen
            yield seen, deleted


async def _read_log(seen: PodObservation, context: TrialContext) -> str:
    try:
        return await context.api.read_log(context.cluster.namespace, seen.name, tail_lines=_LOG_LINES)
    except ClusterError:  # it never started, or is deleted: the judgement says so
        return ""


async def _sweep(seen: PodObservation, targets: Sequence[Creatable], run: RunIdentity, context: TrialContext) -> None:
    """Delete and report leftovers. Errors are reported only: the verdict is known."""
    if not targets:
        return
    try:
        await _wait_until_deleted(seen, context)
        swept = await sweep_trial(context.api, targets, run, context.clock())
    except ClusterError as error:
        context.on_warning(f"objects of the probe may be left: {error.message}")
        return
    for message in describe(swept):
        context.on_warning(message)


async def _wait_until_deleted(seen: PodObservation, context: TrialContext) -> None:
    """A probe may clean up, or create objects, until its grace period is over."""
    grace_s = seen.pod["spec"].get("terminationGracePeriodSeconds", _TERMINATION_S)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s + _DELETION_S), aclosing(_states(seen, context)) as states:
            async for _ in states:
                pass


async def _delete_leftovers(context: TrialContext, created: dict[str, Any]) -> None:
    """Delete the pods of trials that were killed before they could. Ages are by the cluster's own clock.

    Pods that probes create are left to Kubernetes and to the sweep: how long they run is not known.
    """
    selector = f"{LABEL_INSTALLATION}={TRIAL},{LABEL_CASE}"
    pods, _ = await context.api.list_objects(pods_path(context.cluster.namespace), selector)
    present = _created_at(created)
    for pod in pods:
        if object_problem(pod) is None and _is_over(pod, present):
            metadata = pod["metadata"]
            await context.api.delete_pod(context.cluster.namespace, metadata["name"], metadata["uid"])


def _is_over(pod: dict[str, Any], now: datetime) -> bool:
    longest = timedelta(seconds=pod["spec"].get("activeDeadlineSeconds", 0) + _GRACE_S)
    return now - _created_at(pod) > longest


def _created_at(pod: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
