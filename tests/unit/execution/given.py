"""Pods for these tests: built here, or recorded from a real cluster (pods/*.json, Kubernetes 1.34 and containerd)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from kubeprobe.execution.judge import Policy

Pod = dict[str, Any]
CREATED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = Policy(start=timedelta(seconds=60), run=timedelta(seconds=90))
OK = '{"ok": true, "errors": [], "steps": [{"name": "create", "ms": 81, "ok": true}], "metrics": {}}'
NOT_OK = '{"ok": false, "errors": ["create: forbidden", "no pod"], "steps": [], "metrics": {}}'
GAVE_UP = '{"unknown": "may not list nodes"}'


def at(seconds: float) -> str:
    """The instant so many seconds after the pod's creation, as the API writes it."""
    return (CREATED + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def pod(status: Any = None, *, deleted_at: float | None = None, grace: int = 30, node: str | None = "n1") -> Pod:
    """A pod of one probe container. `deleted_at`: its deletionTimestamp."""
    metadata: Pod = {"name": "kp-x", "uid": "u1", "creationTimestamp": at(0)}
    if deleted_at is not None:
        metadata |= {"deletionTimestamp": at(deleted_at + grace), "deletionGracePeriodSeconds": grace}
    spec = {"containers": [{"name": "probe", "image": "x"}], "terminationGracePeriodSeconds": 30}
    return {"metadata": metadata, "spec": spec | ({"nodeName": node} if node else {}), "status": status or {}}


def container(name: str = "probe", **state: Any) -> Pod:
    """A container's status; `state` is one of waiting, running, terminated."""
    return {"name": name, "state": state}


def waiting(reason: str, message: str = "", name: str = "probe") -> Pod:
    """The status of a container that waits."""
    return container(name, waiting={"reason": reason, "message": message})


def pending(*containers: Pod, **status: Any) -> Pod:
    """The status of a pod whose probe has not started."""
    return {"phase": "Pending", "containerStatuses": list(containers), **status}


def running(started: float = 5, *others: Pod, **status: Any) -> Pod:
    """The status of a pod whose probe runs."""
    probe = container(running={"startedAt": at(started)})
    return {"phase": "Running", "containerStatuses": [probe, *others], **status}


def ended(code: int, message: str | None = None, *others: Pod, reason: str = "", **status: Any) -> Pod:
    """The status of a pod whose probe ended, 10 s after the pod's creation."""
    end: Pod = {"exitCode": code, "reason": reason or ("Error" if code else "Completed")}
    end |= {"startedAt": at(5), "finishedAt": at(10)} | ({} if message is None else {"message": message})
    phase = "Running" if others else "Failed" if code else "Succeeded"
    return {"phase": phase, "containerStatuses": [container(terminated=end), *others], **status}


def condition(kind: str, value: str, reason: str, message: str = "", since: float | None = None) -> Pod:
    """A pod's condition."""
    found = {"type": kind, "status": value, "reason": reason, "message": message}
    return found if since is None else {**found, "lastTransitionTime": at(since)}


def disrupted(reason: str, since: float | None = None) -> Pod:
    """Conditions of a disrupted pod."""
    return {"conditions": [condition("DisruptionTarget", "True", reason, "make room", since)]}


def real(name: str) -> Pod:
    """The last recorded state of a pod of the real cluster."""
    found: Pod = orjson.loads((Path(__file__).parent / "pods" / f"{name}.json").read_bytes())
    return found
