"""One cluster: its store, registry, controllers and pod runner.

The plain cluster's pods are processes (`kubelet`), those of a simulated one are scripted (`simulate`).
"""

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kubeprobe.localcluster.controllers import Controllers
from kubeprobe.localcluster.objects import Clock, Object, timestamp, utc_now
from kubeprobe.localcluster.registry import Registry, Target
from kubeprobe.localcluster.resources import NAMESPACES, NODES, PODS, ResourceTable
from kubeprobe.localcluster.store import Change, Store

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
VERSION = "v1.34.4"
"""The Kubernetes version whose behaviour is emulated."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of a request for a container's log."""

    container: str | None = None
    follow: bool = False
    timestamps: bool = False
    previous: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


class PodRunner(Protocol):
    """Runs the pods of a cluster: as processes (`Kubelet`) or scripted (`Simulator`)."""

    def on_change(self, change: Change) -> None:
        """A pod was created, changed or removed."""

    def read_log(self, pod: Object, options: LogOptions) -> AsyncIterator[bytes]:
        """The log of a container. Raises `ApiError` (400) at once when there is none to read."""

    async def stop(self) -> None:
        """End all pods."""


class Cluster:
    """A cluster that answers requests; the creator sets `runner`."""

    def __init__(self, *, namespaces: Iterable[str] = (), clock: Clock = utc_now, store: Store | None = None) -> None:
        self.store = store or Store()
        self.resources = ResourceTable()
        self.registry = Registry(self.store, clock)
        self.runner: PodRunner | None = None
        self._controllers = Controllers(self.registry, self.resources)
        self.store.listen(self._notify_runner)
        for name in dict.fromkeys((*SYSTEM_NAMESPACES, *namespaces)):
            self.registry.create(Target(NAMESPACES), {"metadata": {"name": name}})

    def add_node(self, name: str, *, memory_bytes: int) -> None:
        """Register the node that the pods run on."""
        now = timestamp(self.registry.clock())
        capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory_bytes // 1024}Ki", "pods": "1000"}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": _machine()}
        target = Target(NODES, name=name)
        node = self.registry.create(target, {"metadata": {"name": name, "labels": labels}, "spec": {}})
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kubeletVersion": VERSION,
                "containerRuntimeVersion": "localcluster://1",
                "operatingSystem": "linux",
                "architecture": _machine(),
                "osImage": "the host's",
                "kernelVersion": os.uname().release,
            },
        }
        self.registry.set_status(target, node.object["metadata"]["uid"], status)

    async def stop(self) -> None:
        """Kill its pods. Its watches were closed before, so that no client observes this as the pods' completion."""
        if self.runner is not None:
            await self.runner.stop()

    def _notify_runner(self, change: Change) -> None:
        if self.runner is not None and change.resource is PODS:
            self.runner.on_change(change)


def _machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
