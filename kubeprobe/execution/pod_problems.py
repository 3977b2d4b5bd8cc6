"""Finds in a pod's status what prevents its probe from running or ended it: facts for `judge`, no verdicts."""

import re
from datetime import datetime
from typing import Any

from kubeprobe.execution.exit_codes import RUNTIME_LOST
from kubeprobe.vocabulary import PROBE_CONTAINER, Reason

Problem = tuple[Reason, str]
"""A reason and its message."""

DISRUPTIONS = {
    # Kubernetes documentation, "Disruptions": reasons of the condition DisruptionTarget.
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}
POD_REASONS = {
    "Evicted": Reason.EVICTED,
    "Preempting": Reason.PREEMPTED,  # the kubelet made room for a critical pod
    "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.NODE_LOST,
    "Terminated": Reason.NODE_LOST,  # graceful node shutdown since 1.22
    "NodeAffinity": Reason.UNSCHEDULABLE,
    "UnexpectedAdmissionError": Reason.EVICTED,
}
PERMANENT = {
    # Waiting reasons that do not resolve by themselves.
    "ErrImageNeverPull": Reason.IMAGE_NOT_PULLED,
    "InvalidImageName": Reason.IMAGE_NOT_PULLED,
    "CreateContainerConfigError": Reason.CONFIG_INVALID,
    "CreateContainerError": Reason.CONTAINER_NOT_STARTED,
    "RunContainerError": Reason.CONTAINER_NOT_STARTED,
    "CrashLoopBackOff": Reason.CONTAINER_NOT_STARTED,
}
CRASHES = frozenset({"CreateContainerError", "RunContainerError", "CrashLoopBackOff"})
"""Waiting reasons of containers that the kubelet starts again: a sidecar's next start may succeed."""
PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
IMAGE_MISSING = re.compile(
    r"not found|manifest unknown|name unknown|unauthorized|authentication required|access denied|denied:"
    r"|does not exist|invalid reference|no match for platform",
    re.IGNORECASE,
)
TRANSIENT = re.compile(r"timed out|deadline exceeded|is reserved for", re.IGNORECASE)
"""The kubelet's caches or the runtime are slow; the kubelet tries again by itself."""
THROTTLED = re.compile(r"\b429\b|toomanyrequests|too many requests|rate.?limit|\b50[0234]\b", re.IGNORECASE)
"""The registry is overloaded: the kubelet tries again by itself, so the run waits (failure mode 13)."""


def find_disruption(pod: dict[str, Any], ended: datetime | None = None) -> Problem | None:
    """Eviction, preemption or a lost node: the cluster ended the pod (failure mode 12).

    `ended`: when its probe ended by itself; later disruptions are ignored.
    """
    status = pod.get("status") or {}
    message = status.get("message") or ""
    for condition in status.get("conditions") or []:
        is_disrupted = condition["type"] == "DisruptionTarget" and condition["status"] == "True"
        if is_disrupted and not _is_after(condition, ended):
            reason = DISRUPTIONS.get(condition.get("reason") or "", Reason.EVICTED)
            return reason, message or condition.get("message") or "The cluster terminated the pod."
    phase, known = status.get("phase"), POD_REASONS.get(status.get("reason") or "")
    # A lost node does not update its pods: their phase stays.
    if known is not None and (phase == "Failed" or known is Reason.NODE_LOST):
        return known, message or f"The cluster ended the pod: {status['reason']}."
    if phase == "Unknown":
        return Reason.NODE_LOST, message or "The node stopped reporting."
    return None


def find_end_problem(pod: dict[str, Any], end: dict[str, Any]) -> Problem | None:
    """What ended the probe's container, if it was not the probe itself."""
    status, message = pod.get("status") or {}, end.get("message") or ""
    match end.get("reason"):
        case "OOMKilled":
            return Reason.OOM_KILLED, "Out of memory: limit reached."
        case "StartError" | "ContainerCannotRun":
            return Reason.CONTAINER_NOT_STARTED, message
        case "ContainerStatusUnknown":  # the node was restarted, or its runtime lost the container
            return Reason.NODE_LOST, message
        case "Unknown" if end.get("exitCode") == RUNTIME_LOST:
            return Reason.NODE_LOST, message or "The container runtime does not know how the container ended."
    if status.get("reason") == "DeadlineExceeded":
        return Reason.RUN_DEADLINE, "Kubernetes ended the pod at its activeDeadlineSeconds."
    return None


def find_start_problem(pod: dict[str, Any]) -> Problem | None:
    """Why the probe will never start."""
    sidecars = find_sidecars(pod)
    for name, reason, message in _waiting(pod):
        if name in sidecars and reason in CRASHES:
            continue
        if (known := PERMANENT.get(reason)) and not TRANSIENT.search(message):
            return known, f"Container {name}: {reason}: {message}"
        if reason in PULLING and IMAGE_MISSING.search(message) and not THROTTLED.search(message):
            return Reason.IMAGE_NOT_PULLED, f"Container {name}: {reason}: {message}"
    return None


def find_sidecars(pod: dict[str, Any]) -> set[str]:
    """Names of restartable init containers (Kubernetes documentation, "Sidecar Containers")."""
    containers = (pod.get("spec") or {}).get("initContainers") or []
    return {container["name"] for container in containers if container.get("restartPolicy") == "Always"}


def explain_wait(pod: dict[str, Any]) -> Problem:
    """What the pod was waiting for at its start deadline."""
    for name, reason, message in _waiting(pod):
        if reason in PULLING:
            return Reason.IMAGE_NOT_PULLED, f"container {name}: {reason}: {message}"
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Reason.UNSCHEDULABLE, condition.get("message") or condition.get("reason") or "no node fits."
    if not (pod.get("spec") or {}).get("nodeName"):
        return Reason.START_DEADLINE, "no scheduler has processed the pod."
    for name, reason, message in _waiting(pod):
        return Reason.START_DEADLINE, f"container {name}: {reason} {message}".strip()
    return Reason.START_DEADLINE, f"no status from node {pod['spec']['nodeName']}."


def _is_after(condition: dict[str, Any], ended: datetime | None) -> bool:
    since = condition.get("lastTransitionTime")
    return ended is not None and since is not None and datetime.fromisoformat(since) > ended


def _waiting(pod: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(container, reason, message) of each container that waits, init containers first.

    Of the other containers only the probe's counts: sidecars are ignored.
    """
    status = pod.get("status") or {}
    probe = [c for c in status.get("containerStatuses") or [] if c["name"] == PROBE_CONTAINER]
    found = []
    for container in (status.get("initContainerStatuses") or []) + probe:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason"):
            found.append((container["name"], waiting["reason"], waiting.get("message") or ""))
    return found
