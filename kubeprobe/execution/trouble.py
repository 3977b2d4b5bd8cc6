"""Reading a pod's status for what keeps its probe from running: facts for `judge`, no verdicts."""

import re
from datetime import datetime
from typing import Any

from kubeprobe.vocabulary import PROBE_CONTAINER, Reason

Trouble = tuple[Reason, str]

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
HOPELESS = {
    # Waiting reasons that no waiting mends.
    "ErrImageNeverPull": Reason.IMAGE_NOT_PULLED,
    "InvalidImageName": Reason.IMAGE_NOT_PULLED,
    "CreateContainerConfigError": Reason.CONFIG_INVALID,
    "CreateContainerError": Reason.CONTAINER_NOT_STARTED,
    "RunContainerError": Reason.CONTAINER_NOT_STARTED,
    "CrashLoopBackOff": Reason.CONTAINER_NOT_STARTED,
}
PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|name unknown|unauthorized|authentication required|access denied|denied:"
    r"|does not exist|invalid reference|no match for platform",
    re.IGNORECASE,
)
PASSING = re.compile(r"timed out|deadline exceeded|is reserved for", re.IGNORECASE)
"""The kubelet's caches and the runtime are behind; it tries again by itself."""
THROTTLED = re.compile(r"\b429\b|toomanyrequests|too many requests|rate.?limit|\b50[0234]\b", re.IGNORECASE)
"""The registry will answer later: the kubelet goes on trying, and so the run waits (failure mode 13)."""


def disruption(pod: dict[str, Any], ended: datetime | None = None) -> Trouble | None:
    """Eviction, preemption or a lost node: the cluster took the pod away (failure mode 12).

    `ended`: when its probe did, by itself; what befell the pod later does not count.
    """
    status = pod.get("status") or {}
    told = status.get("message") or ""
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True" and not _after(condition, ended):
            reason = DISRUPTIONS.get(condition.get("reason") or "", Reason.EVICTED)
            return reason, told or condition.get("message") or "The cluster took the pod away."
    phase, known = status.get("phase"), POD_REASONS.get(status.get("reason") or "")
    # A silent node cannot end its pods: their phase stays what it was.
    if known is not None and (phase == "Failed" or known is Reason.NODE_LOST):
        return known, told or f"The cluster ended the pod: {status['reason']}."
    if phase == "Unknown":
        return Reason.NODE_LOST, told or "The node has not been heard of."
    return None


def end_trouble(pod: dict[str, Any], end: dict[str, Any]) -> Trouble | None:
    """What ended the probe's container, where it was not the probe itself."""
    status, told = pod.get("status") or {}, end.get("message") or ""
    match end.get("reason"):
        case "OOMKilled":
            return Reason.OOM_KILLED, "Out of memory: limit reached."
        case "StartError" | "ContainerCannotRun":
            return Reason.CONTAINER_NOT_STARTED, told
        case "ContainerStatusUnknown":  # the node was restarted, or its runtime lost the container
            return Reason.NODE_LOST, told
    if status.get("reason") == "DeadlineExceeded":
        return Reason.RUN_DEADLINE, "Kubernetes ended the pod at its activeDeadlineSeconds."
    return None


def start_trouble(pod: dict[str, Any]) -> Trouble | None:
    """What makes waiting for the probe's start hopeless."""
    for name, reason, told in _waiting(pod):
        if (known := HOPELESS.get(reason)) and not PASSING.search(told):
            return known, f"Container {name}: {reason}: {told}"
        if reason in PULLING and NO_SUCH_IMAGE.search(told) and not THROTTLED.search(told):
            return Reason.IMAGE_NOT_PULLED, f"Container {name}: {reason}: {told}"
    return None


def waiting_to_start(pod: dict[str, Any]) -> Trouble:
    """What the pod was waiting for when its start deadline passed."""
    for name, reason, told in _waiting(pod):
        if reason in PULLING:
            return Reason.IMAGE_NOT_PULLED, f"container {name}: {reason}: {told}"
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Reason.UNSCHEDULABLE, condition.get("message") or condition.get("reason") or "no node took it."
    if not (pod.get("spec") or {}).get("nodeName"):
        return Reason.START_DEADLINE, "no scheduler has looked at the pod."
    for name, reason, told in _waiting(pod):
        return Reason.START_DEADLINE, f"container {name}: {reason} {told}".strip()
    return Reason.START_DEADLINE, f"nothing was heard from node {pod['spec']['nodeName']}."


def _after(condition: dict[str, Any], ended: datetime | None) -> bool:
    since = condition.get("lastTransitionTime")
    return ended is not None and since is not None and datetime.fromisoformat(since) > ended


def _waiting(pod: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(container, reason, message) of each container that waits, init containers first.

    Of the ordinary containers only the first, the probe, counts: a sidecar has no say.
    """
    status = pod.get("status") or {}
    probe = [c for c in status.get("containerStatuses") or [] if c["name"] == PROBE_CONTAINER]
    found = []
    for container in (status.get("initContainerStatuses") or []) + probe:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason"):
            found.append((container["name"], waiting["reason"], waiting.get("message") or ""))
    return found
