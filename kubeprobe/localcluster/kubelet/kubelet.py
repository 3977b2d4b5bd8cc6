"""Scheduler and kubelet of the only node: follows the cluster's pods and runs a `PodWorker` for each."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from kubeprobe.localcluster.cluster import LogOptions
from kubeprobe.localcluster.errors import bad_request
from kubeprobe.localcluster.images import write_launchers
from kubeprobe.localcluster.kubelet import reaper
from kubeprobe.localcluster.kubelet.host import NODE, Host
from kubeprobe.localcluster.kubelet.logs import ContainerLog
from kubeprobe.localcluster.kubelet.pod import PodWorker
from kubeprobe.localcluster.kubelet.scheduling import unschedulable_message
from kubeprobe.localcluster.kubelet.statuses import with_transition_times
from kubeprobe.localcluster.objects import Object, timestamp
from kubeprobe.localcluster.registry import Target
from kubeprobe.localcluster.resources import NODES, PODS
from kubeprobe.localcluster.store import Change

_STOP_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Kubelet:
    """Runs the pods of one cluster as processes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reaper: subprocess.Popen[bytes] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Create the directories, and start the reaper, which kills all containers if this process is killed."""
        write_launchers(self._host.launchers)
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(reaper.__file__)), self._host.mark],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._sweeping = asyncio.create_task(self._host.sweeper.run())

    async def stop(self) -> None:
        """Kill all containers and wait until they have ended."""
        stops = [self._spawn(worker.stop(0)) for worker in self._workers.values()]
        if stops or self._tasks:
            await asyncio.wait({*stops, *self._tasks}, timeout=_STOP_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._reaper is not None:
            assert self._reaper.stdin is not None
            self._reaper.stdin.close()
            await asyncio.to_thread(self._reaper.wait)

    def on_change(self, change: Change) -> None:
        """Start, stop or forget a pod. Acts after the response to the request that changed it."""
        loop = asyncio.get_running_loop()
        pod = change.stored.object
        if change.type == "ADDED":
            loop.call_soon(self._schedule, pod)
        elif change.type == "DELETED":
            loop.call_soon(self._forget, pod)
        elif "deletionTimestamp" in pod["metadata"]:
            grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
            before = change.previous.object["metadata"] if change.previous else {}
            if before.get("deletionGracePeriodSeconds") != grace:
                loop.call_soon(self._end, pod, grace)

    def read_log(self, pod: Object, options: LogOptions) -> AsyncIterator[bytes]:
        """The log of one of the pod's containers."""
        return self._find_log(pod, options).read(options)

    def _schedule(self, pod: Object) -> None:
        """Bind a new pod to this node, or set why it is unschedulable."""
        current = self._host.find(pod)
        node = self._host.registry.store.get(NODES, "", NODE)
        if current is None or node is None or "deletionTimestamp" in current["metadata"]:
            return
        metadata = current["metadata"]
        if current["spec"].get("nodeName", NODE) != NODE:
            return  # it names a node that does not exist, and stays Pending
        if message := unschedulable_message(pod, node.object):
            refused = {"status": "False", "reason": "Unschedulable", "message": message}
            self._host.registry.store.put(PODS, self._with_scheduled(current, refused))
            self._host.events.record(pod, "FailedScheduling", message, warning=True)
            return
        bound = {**current, "spec": {**current["spec"], "nodeName": NODE}}
        stored = self._host.registry.store.put(PODS, self._with_scheduled(bound, {"status": "True"}))
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {NODE}"
        self._host.events.record(stored.object, "Scheduled", message)
        self._start_worker(stored.object)

    def _with_scheduled(self, pod: Object, result: Object) -> Object:
        """The pod with its PodScheduled condition."""
        condition = {"type": "PodScheduled", "lastProbeTime": None, **result}
        conditions = with_transition_times([condition], (), timestamp(self._host.now()))
        return {**pod, "status": {**pod["status"], "conditions": conditions}}

    def _start_worker(self, pod: Object) -> None:
        worker = self._workers[pod["metadata"]["uid"]] = PodWorker(self._host, pod)
        self._spawn(self._run(worker, pod))

    async def _run(self, worker: PodWorker, pod: Object) -> None:
        await worker.run()
        current = self._host.find(pod)
        if current is not None and "deletionTimestamp" in current["metadata"]:
            metadata = pod["metadata"]
            target = Target(PODS, metadata["namespace"], metadata["name"])
            self._host.registry.finish_deletion(target, metadata["uid"])

    def _end(self, pod: Object, grace_seconds: float) -> None:
        """Stop the processes of a pod that is being deleted."""
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            self._spawn(worker.stop(grace_seconds))

    def _forget(self, pod: Object) -> None:
        """Remove all processes and files of a deleted pod."""
        worker = self._workers.pop(pod["metadata"]["uid"], None)
        if worker is not None:
            self._spawn(self._clean_up(worker, pod))

    async def _clean_up(self, worker: PodWorker, pod: Object) -> None:
        await worker.stop(0)
        self._host.remove_pod_directory(pod)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_task)
        return task

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("pod worker failed", exc_info=error)

    def _find_log(self, pod: Object, options: LogOptions) -> ContainerLog:
        """The requested log. Raises `ApiError` (400) with the real server's messages."""
        name = pod["metadata"]["name"]
        specs = pod["spec"]["containers"]
        if options.container is None and len(specs) > 1:
            listed = " ".join(spec["name"] for spec in specs)
            raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")
        wanted = options.container or specs[0]["name"]
        worker = self._workers.get(pod["metadata"]["uid"])
        known = [spec["name"] for spec in (*specs, *(pod["spec"].get("initContainers") or ()))]
        if wanted not in known:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        container = worker.container(wanted) if worker else None
        if container is None:
            return _ended_log()
        view = container.view()
        if options.previous:
            if container.previous_log is None:
                raise bad_request(f'previous terminated container "{wanted}" in pod "{name}" not found')
            return container.previous_log
        if "waiting" in view.state and not view.last_state:
            why = view.state["waiting"]["reason"]
            raise bad_request(f'container "{wanted}" in pod "{name}" is waiting to start: {why}')
        return container.log


def _ended_log() -> ContainerLog:
    log = ContainerLog()
    log.ended = True
    return log
