"""A node without a kubelet: its pods end by status updates only, so that load tests exclude the container runtime.

Pods bound to it are marked as run and ended, with an exit code and a report derived from the run id, so that a test
knows each pod's result. `python -m tests.harness.fakenode KUBECONFIG`.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography.fernet import Fernet

from kubeprobe.fleet.api import ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster

NODE = "fake"
READY_EVERY_S = 10.0


def exit_code_of(run_id: str) -> int:
    """The exit code of this run's pod: one in four fails."""
    return 1 if int.from_bytes(run_id[-2:].encode()) % 4 == 0 else 0


def report_of(run_id: str, code: int) -> dict[str, Any]:
    """The report of this run's pod, consistent with its exit code."""
    if code:
        return {"ok": False, "errors": [f"{run_id} is meant to fail"]}
    return {"ok": True, "errors": [], "steps": [{"name": "only", "ms": 1, "ok": True}]}


def api_of(kubeconfig: Path, context: str | None = None) -> tuple[ClusterClients, Cluster]:
    """API clients and a cluster row outside of any store, for tests that call a cluster's API themselves."""
    cipher = Cipher(Fernet.generate_key().decode())
    sealed = cipher.seal(from_kubeconfig(kubeconfig, context))
    row = Cluster(name="real", connection_kind="kubeconfig", connection=sealed, created_at=datetime.now(UTC))
    return ClusterClients(cipher), row


@dataclass
class FakeNode:
    """Ends the pods of a namespace that are bound to node `fake`, each `after_s` seconds after it appeared."""

    api: ClusterApi
    namespace: str = "kubeprobe"
    after_s: float = 0.0
    exit_code: Callable[[str], int] = exit_code_of
    """The exit code of a run's pod, by run id."""
    ended: dict[str, int] = field(default_factory=dict)
    """Run id -> number of its pods that ended here; never more than one."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Follow pods until cancelled."""
        await self._register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_ready())
            while True:
                with suppress(ClusterError):
                    await self._follow()

    async def _follow(self) -> None:
        pods, version = await self.api.list_objects(pods_path(self.namespace))
        for pod in pods:
            self._on_change(pod)
        while True:
            async for kind, pod in self.api.watch_objects(pods_path(self.namespace), "", version):
                version = pod["metadata"]["resourceVersion"]
                if kind in {"ADDED", "MODIFIED"}:
                    self._on_change(pod)
                elif kind == "DELETED":
                    self._on_deleted(pod)

    def _on_deleted(self, pod: Mapping[str, Any]) -> None:
        """Called when a pod was deleted; for subclasses."""

    def _on_change(self, pod: Mapping[str, Any]) -> None:
        """End new pods, and finish the deletion of others, as a kubelet does."""
        if pod["spec"].get("nodeName") != NODE:
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._start(self._finish_deletion(pod))
        elif pod["status"].get("phase", "Pending") == "Pending" and not pod["status"].get("containerStatuses"):
            self._start(self._end(pod))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, pod: Mapping[str, Any]) -> None:
        await asyncio.sleep(self.after_s)
        run_id = pod["metadata"]["labels"]["kubeprobe.io/run"]
        status = _ended_status(run_id, self.exit_code(run_id), pod["spec"]["containers"][0]["image"])
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        try:
            await self.api.call("PUT", path, body={**pod, "status": status})
        except ClusterError as error:
            if error.cause not in {Cause.NOT_FOUND, Cause.CONFLICT}:
                self._start(self._end(pod))  # the API server was unavailable: retry, as a kubelet does
            return
        self.ended[run_id] = self.ended.get(run_id, 0) + 1

    async def _finish_deletion(self, pod: Mapping[str, Any]) -> None:
        with suppress(ClusterError):
            await self.api.delete_pod(self.namespace, pod["metadata"]["name"], pod["metadata"]["uid"], grace_s=0)

    async def _register(self) -> None:
        taints = [{"key": "kubeprobe.io/fake", "effect": "NoSchedule"}]
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"taints": taints}}
        try:
            await self.api.call("POST", "/api/v1/nodes", body=node)
        except ClusterError as error:
            if error.cause is not Cause.ALREADY_EXISTS:
                raise

    async def _stay_ready(self) -> None:
        """Renew the node's Ready condition, or the node controller evicts its pods."""
        while True:
            with suppress(ClusterError):
                node = await self.api.call("GET", f"/api/v1/nodes/{NODE}")
                now = _now()
                ready = {"type": "Ready", "status": "True", "reason": "Fake", "message": "", "lastHeartbeatTime": now}
                node["status"] = {"conditions": [{**ready, "lastTransitionTime": now}]}
                await self.api.call("PUT", f"/api/v1/nodes/{NODE}/status", body=node)
            await asyncio.sleep(READY_EVERY_S)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ended_status(run_id: str, code: int, image: str) -> dict[str, Any]:
    now = _now()
    terminated = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "message": orjson.dumps(report_of(run_id, code)).decode(),
        "startedAt": now,
        "finishedAt": now,
    }
    container = {
        "name": "probe",
        "image": image,
        "imageID": image,
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    return {
        "phase": "Failed" if code else "Succeeded",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}],
        "containerStatuses": [container],
        "startTime": now,
    }


async def _main(kubeconfig: Path, after_s: float) -> None:
    clients, cluster = api_of(kubeconfig)
    await FakeNode(await clients.get(cluster), after_s=after_s).run()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
