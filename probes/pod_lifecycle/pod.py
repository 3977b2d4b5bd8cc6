"""The pod of the probe, and the causes in its status and events if it does not become ready."""

from typing import Any

from kubeprobe_client import Run

from probes._objects import LINUX

Json = dict[str, Any]


def manifest(name: str, namespace: str, image: str, token: str, run: Run, seconds: float) -> Json:
    """A pod that prints `token` and waits to be deleted; it ends by itself after `seconds`.

    It complies with the `restricted` Pod Security Standard, and is small enough for nearly every quota.
    """
    owner = run.owner_reference(namespace)
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "labels": {**run.labels, "app.kubernetes.io/name": "kubeprobe-pod-lifecycle"},
        **({"ownerReferences": [owner]} if owner else {}),
    }
    # The shell handles SIGTERM: otherwise, as process 1, it would be killed only after the grace period.
    script = f"trap 'exit 0' TERM; echo {token}; sleep {round(seconds)} & wait"
    container = {
        "name": "user",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "100m", "memory": "32Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": LINUX,
        "activeDeadlineSeconds": round(seconds),
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def is_ready(pod: Json) -> bool:
    """Whether its Ready condition is true."""
    return _condition(pod, "Ready").get("status") == "True"


def has_ended(pod: Json) -> bool:
    """Whether all its containers have ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def why_not_ready(pod: Json) -> str:
    """Why the pod is not ready, according to control plane and kubelet."""
    status = pod.get("status", {})
    node = pod.get("spec", {}).get("nodeName", "")
    problem = next(filter(None, map(_container_problem, status.get("containerStatuses", []))), "")
    if problem:
        return problem
    if status.get("reason"):  # the whole pod's: Evicted, NodeLost, DeadlineExceeded ...
        return _with_message(status["reason"], status.get("message"))
    if not node:
        scheduled = _condition(pod, "PodScheduled")
        if scheduled.get("status") != "False":
            return "Pending: no scheduler has processed it"
        return _with_message(scheduled.get("reason") or "Unschedulable", scheduled.get("message"))
    if not status.get("startTime"):
        return f"Pending: scheduled to node {node}, whose kubelet has not acknowledged it"
    ready = _condition(pod, "Ready")
    return _with_message(f"{status.get('phase', 'Pending')} on node {node}", ready.get("message"))


def _container_problem(container: Json) -> str:
    state = container.get("state", {})
    ended, waiting = state.get("terminated"), state.get("waiting", {})
    if ended:
        return _with_message(f"{ended.get('reason', 'ended')}, exit code {ended.get('exitCode')}", ended.get("message"))
    if waiting.get("reason") in (None, "ContainerCreating"):
        return ""
    return _with_message(waiting["reason"], waiting.get("message"))


def warnings(events: list[Json], reported: str, most: int = 2) -> list[str]:
    """The last warnings among events, without duplicates of each other and of `reported`."""
    texts: dict[str, None] = {}
    for event in sorted(events, key=_when):
        message = (event.get("message") or "").strip().removeprefix("Error: ")
        if event.get("type") == "Warning" and message not in reported:
            texts[f"event {event.get('reason', '')}: {message}"] = None
    return list(texts)[-most:]


def _when(event: Json) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or ""


def _condition(pod: Json, kind: str) -> Json:
    conditions: list[Json] = pod.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _with_message(reason: str, message: str | None) -> str:
    return f"{reason}: {message.strip()}" if message else reason
