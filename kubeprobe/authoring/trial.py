"""Running a probe once in a cluster without an installation knowing of it: create, watch, judge, delete, sweep up.

The pod is the one that a launcher would create, and the verdict the one that a collector would come to. Nothing is
stored. Its label says that it belongs to no installation, so that no collector touches it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from ulid import ULID

from kubeprobe.authoring.folder import ProbeFolder
from kubeprobe.authoring.sweeping import creatable_by, sweep_up, told_of
from kubeprobe.catalog import RunIdentity, check_parameters, render_pod
from kubeprobe.catalog.setup import Creatable
from kubeprobe.clock import Clock
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.judge import judge, judge_refusal
from kubeprobe.fleet.api import NODES_PATH, ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError
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
_RETRIED = frozenset({Cause.CLUSTER_UNREACHABLE, Cause.SERVER_ERROR, Cause.THROTTLED})
_SHORTEST_WAIT_S = 0.05
_GRACE_S = 60
_TERMINATION_S = 30
"""What Kubernetes grants a pod between SIGTERM and SIGKILL unless it says otherwise."""
_TO_VANISH_S = 10


@dataclass(frozen=True)
class ByHand:
    """What is given by hand for one trial."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None
    """The node that the pod is pinned to; None: the scheduler chooses."""

    @classmethod
    def checked(cls, parameters: Mapping[str, str], node: str | None) -> Self:
        """Held to the same rules as what is given to a run. Raises InvalidInputError."""
        if node is not None and (problem := node_problem(node)):
            raise InvalidInputError(f"node: {problem}")
        return cls(check_parameters(parameters), node)


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    run_id: str
    given: ByHand
    judgement: Judgement
    log: str
    opened_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Place:
    """Where a probe is tried."""

    api: ClusterApi
    cluster: Cluster
    clock: Clock
    tell: Callable[[str], None]
    """Hears of each state that the run comes to."""
    warn: Callable[[str], None]
    """Hears of what the probe left behind."""


async def try_probe(folder: ProbeFolder, place: Place, given: ByHand) -> Trial:
    """Run the probe and delete its pod and what it left behind, whatever happens.

    Raises ClusterError if the cluster does not answer, NotFoundError if it has no such node.
    """
    cluster, opened_at = place.cluster, place.clock()
    if given.node is not None:
        await _check_node(given.node, place)
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
    await _delete_leftovers(place)
    try:
        created = await place.api.create_pod(cluster.namespace, pod)
    except ClusterError as error:
        if error.cause is Cause.CLUSTER_UNREACHABLE:
            raise
        return Trial(identity.run_id, given, judge_refusal(error), "", opened_at, place.clock())
    seen = PodObservation.read(created)
    assert seen is not None, "a rendered pod carries its run"
    try:
        judgement = await _follow(seen, place)
        log = await _read_log(seen, place)
        ended_at = place.clock()
    finally:
        await place.api.delete_pod(cluster.namespace, seen.name, seen.uid)
        await _sweep_up(seen, creatable_by(catalog, identity), identity, place)
    return Trial(identity.run_id, given, judgement, log, opened_at, ended_at)


async def _check_node(name: str, place: Place) -> None:
    """Kubernetes takes a pod for a node that there is not, and lets it wait; who may not list nodes finds out so."""
    try:
        known = [node["name"] for node in await Inventory(place.api).find(NODES_PATH, "")]
    except ClusterError as error:
        if error.cause is not Cause.FORBIDDEN:
            raise
        return
    if name not in known:
        raise NotFoundError(f"Cluster {place.cluster.name} has no node {name!r}.{nearest(name, known)}")


async def _follow(created: PodObservation, place: Place) -> Judgement:
    """Watch the pod until its run is over."""
    seen, shown = created, ""
    while True:  # again only where a deadline has passed by the loop's clock and not yet by ours
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit, aclosing(_states(seen, place)) as states:
                async for seen, deleted in states:
                    if judgement := judge(seen.pod, seen.policy, place.clock(), deleted=deleted):
                        return judgement
                    phase = str((seen.pod.get("status") or {}).get("phase") or "Pending").lower()
                    if phase != shown:
                        place.tell(shown := phase)
                    left_s = (seen.deadline - place.clock()).total_seconds()
                    limit.reschedule(asyncio.get_running_loop().time() + max(left_s, _SHORTEST_WAIT_S))


async def _states(seen: PodObservation, place: Place) -> AsyncGenerator[tuple[PodObservation, bool], None]:
    """The pod's states from `seen` on, and whether it was deleted. An unreachable cluster is tried again."""
    yield seen, False
    path, selector = pods_path(place.cluster.namespace), f"{LABEL_RUN}={seen.run_id}"
    async with aclosing(follow_object(place.api, path, selector, seen.pod, _RETRIED)) as states:
        async for pod, deleted in states:
            seen = PodObservation.read(pod) or seen
            yield seen, deleted


async def _read_log(seen: PodObservation, place: Place) -> str:
    try:
        return await place.api.read_log(place.cluster.namespace, seen.name, tail_lines=_LOG_LINES)
    except ClusterError:  # it never started, or is gone: the judgement says so
        return ""


async def _sweep_up(seen: PodObservation, targets: Sequence[Creatable], run: RunIdentity, place: Place) -> None:
    """Remove what the pod does not take along, and tell. The verdict is known: nothing here changes it."""
    if not targets:
        return
    try:
        await _wait_until_gone(seen, place)
        swept = await sweep_up(place.api, targets, run, place.clock())
    except ClusterError as error:
        place.warn(f"what it may have left behind stays: {error.message}")
        return
    for told in told_of(swept):
        place.warn(told)


async def _wait_until_gone(seen: PodObservation, place: Place) -> None:
    """A probe that is being ended may clean up, or go on creating, until its grace is over."""
    grace_s = seen.pod["spec"].get("terminationGracePeriodSeconds", _TERMINATION_S)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s + _TO_VANISH_S), aclosing(_states(seen, place)) as states:
            async for _ in states:
                pass


async def _delete_leftovers(place: Place) -> None:
    """Delete probes' pods of earlier trials that were killed before they could. By the cluster's own clock.

    Pods that probes create are of no known length: they go with what owns them, or are swept up.
    """
    selector = f"{LABEL_INSTALLATION}={TRIAL},{LABEL_CASE}"
    pods, _ = await place.api.list_objects(pods_path(place.cluster.namespace), selector)
    for pod in pods:
        if _is_over(pod, place.clock()):
            metadata = pod["metadata"]
            await place.api.delete_pod(place.cluster.namespace, metadata["name"], metadata["uid"])


def _is_over(pod: dict[str, Any], now: datetime) -> bool:
    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    lasts = timedelta(seconds=pod["spec"].get("activeDeadlineSeconds", 0) + _GRACE_S)
    return now - created > lasts
