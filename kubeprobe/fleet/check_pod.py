"""Checks whether an image can be started in a cluster: starts one pod, and deletes it in any case."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ulid import ULID

from kubeprobe.fleet.api import ClusterApi, object_problem, pods_path
from kubeprobe.fleet.reflector import follow_object
from kubeprobe.vocabulary import (
    LABEL_CHECK,
    LABEL_INSTALLATION,
    LABEL_MANAGED_BY,
    LABEL_RUN,
    MANAGED_BY,
    PROBE_CONTAINER,
)

START_TIMEOUT_S = 60.0
LEFT_OVER_AFTER = timedelta(minutes=10)
# Waiting reasons that do not resolve by themselves within a check's time limit.
_STUCK = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})


@dataclass(frozen=True)
class ImageTrial:
    """The image to start, and the installation that the pod is labelled with."""

    image: str
    installation: str
    command: tuple[str, ...] = ()
    """Empty: the image's own."""
    timeout_s: float = START_TIMEOUT_S


async def try_image(api: ClusterApi, namespace: str, trial: ImageTrial) -> str | None:
    """Start a pod, wait until its container ran, delete it. Returns the problem, or None. Raises ClusterError."""
    run = str(ULID()).lower()
    created = await api.create_pod(namespace, _pod(run, trial))
    watcher = _Watcher()
    try:
        await _delete_leftovers(api, namespace, trial, created)
        async with asyncio.timeout(trial.timeout_s):
            return await watcher.follow(api, namespace, f"{LABEL_RUN}={run}", created)
    except TimeoutError:
        return f"its pod did not start within {trial.timeout_s:g} s: {watcher.last}"
    finally:
        metadata = created["metadata"]
        await api.delete_pod(namespace, metadata["name"], metadata["uid"], grace_s=0)


async def _delete_leftovers(api: ClusterApi, namespace: str, trial: ImageTrial, created: dict[str, Any]) -> None:
    """Delete the pods of checks that were killed before they could. Ages are by the cluster's own clock."""
    selector = f"{LABEL_INSTALLATION}={trial.installation},{LABEL_CHECK}"
    present = datetime.fromisoformat(created["metadata"]["creationTimestamp"])
    pods, _ = await api.list_objects(pods_path(namespace), selector)
    for metadata in (pod["metadata"] for pod in pods if object_problem(pod) is None):
        if datetime.fromisoformat(metadata["creationTimestamp"]) < present - LEFT_OVER_AFTER:
            await api.delete_pod(namespace, metadata["name"], metadata["uid"], grace_s=0)


class _Watcher:
    """Follows one pod; `last` is why it had not started in its last observed state."""

    def __init__(self) -> None:
        self.last = "no status was observed"
        self._problem: str | None = None

    async def follow(self, api: ClusterApi, namespace: str, selector: str, pod: dict[str, Any]) -> str | None:
        async with aclosing(follow_object(api, pods_path(namespace), selector, pod)) as states:
            async for seen, deleted in states:
                if deleted:
                    break
                if self._is_decided(seen["status"]):
                    return self._problem
        return "its pod was deleted, not by KubeProbe"

    def _is_decided(self, status: dict[str, Any]) -> bool:
        """Whether the container ran or failed; if it failed, `_problem` is why."""
        container = (status.get("containerStatuses") or [{}])[0]
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if "running" in state or (ended and ended.get("reason") not in _NEVER_RAN):
            return True
        if ended or status.get("phase") == "Failed":
            self._problem = _text(ended or status)
        elif waiting.get("reason") in _STUCK:
            self._problem = _text(waiting)
        else:
            scheduling = (part for part in status.get("conditions") or () if part["type"] == "PodScheduled")
            self.last = _text(waiting or next(scheduling, {}))
        return self._problem is not None


def _text(part: dict[str, Any]) -> str:
    return ": ".join(str(part[key]) for key in ("reason", "message") if part.get(key)) or "no reason given"


def _pod(run: str, trial: ImageTrial) -> dict[str, Any]:
    """A pod that meets the strictest Pod Security level and has resources for any quota."""
    container: dict[str, Any] = {
        "name": PROBE_CONTAINER,
        "image": trial.image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if trial.command:
        container["command"] = list(trial.command)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"kubeprobe-check-{run}",
            "labels": {
                LABEL_INSTALLATION: trial.installation,
                LABEL_RUN: run,
                LABEL_CHECK: "image",
                LABEL_MANAGED_BY: MANAGED_BY,
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(trial.timeout_s * 2),
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }
