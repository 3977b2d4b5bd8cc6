"""The lifecycle of one pod: volumes, init containers in order, then all other containers together.

`kubelet` starts one worker per pod; `container` runs each container; `statuses` derives the pod's status.
"""

import asyncio

from kubeprobe.localcluster.kubelet.container import Container
from kubeprobe.localcluster.kubelet.environment import ConfigError
from kubeprobe.localcluster.kubelet.host import Host
from kubeprobe.localcluster.kubelet.statuses import PodView, pod_status
from kubeprobe.localcluster.kubelet.volumes import prepare_volumes
from kubeprobe.localcluster.objects import Object, timestamp
from kubeprobe.localcluster.registry import Target
from kubeprobe.localcluster.resources import PODS

_MOUNT_RETRY_SECONDS = 2.0
_DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """Runs one pod."""

    def __init__(self, host: Host, pod: Object) -> None:
        self._host = host
        self._pod = pod
        metadata = pod["metadata"]
        self._target = Target(PODS, metadata["namespace"], metadata["name"])
        self._uid: str = metadata["uid"]
        self._policy: str = pod["spec"]["restartPolicy"]
        self._init = [self._container(spec, init=True) for spec in pod["spec"].get("initContainers") or ()]
        self._main = [self._container(spec) for spec in pod["spec"]["containers"]]
        if self._init:
            for container in (*self._init[1:], *self._main):
                container.wait_for_init()
        self._stopped = asyncio.Event()
        self._finished = False
        self._deadline_status: Object = {}
        self._sidecars: list[asyncio.Task[None]] = []
        self._token = host.tokens.issue()

    def container(self, name: str) -> Container | None:
        """The container of this name."""
        return next((one for one in (*self._init, *self._main) if one.name == name), None)

    async def run(self) -> None:
        """Run the pod until no container runs or will be restarted."""
        deadline = self._pod["spec"].get("activeDeadlineSeconds")
        timer = asyncio.create_task(self._end_at_deadline(deadline)) if deadline else None
        self._write_status()
        try:
            if await self._prepare() and await self._run_init():
                await asyncio.gather(*(container.run() for container in self._main))
            await self._stop_sidecars()
        finally:
            if timer is not None:
                timer.cancel()
            self._host.tokens.revoke(self._token)
            self._finished = True
            self._write_status()

    async def stop(self, grace_seconds: float) -> None:
        """Stop all containers: the main ones, then the sidecars in reverse order."""
        self._stopped.set()
        await asyncio.gather(*(container.stop(grace_seconds) for container in self._main))
        for container in reversed(self._init):
            await container.stop(grace_seconds)

    def _container(self, spec: Object, *, init: bool = False) -> Container:
        restart = self._policy
        if init:
            stays = spec.get("restartPolicy") == "Always"
            restart = "Always" if stays else "Never" if self._policy == "Never" else "OnFailure"
        return Container(self._host, self._pod, spec, restart, self._write_status)

    async def _prepare(self) -> bool:
        """Prepare the volumes; waits for missing secrets and config maps. False when stopped meanwhile."""
        directory = self._host.pod_directory(self._pod) / "volumes"
        while not self._stopped.is_set():
            try:
                volumes = prepare_volumes(self._host.registry.store, self._pod, directory)
            except ConfigError as error:
                self._host.events.record(self._pod, "FailedMount", str(error), warning=True)
                await self._pause(_MOUNT_RETRY_SECONDS)
                continue
            for container in (*self._init, *self._main):
                container.prepare(volumes, self._token)
            return True
        return False

    async def _run_init(self) -> bool:
        """Run the init containers in order; False when one failed finally or the pod was stopped."""
        for container in self._init:
            if container.is_sidecar:
                self._sidecars.append(asyncio.create_task(container.run()))
                await self._until_running(container)
            else:
                await container.run()
                if not container.view().succeeded:
                    return False
            if self._stopped.is_set():
                return False
        return not self._stopped.is_set()

    async def _until_running(self, container: Container) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (container.running, self._stopped)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _stop_sidecars(self) -> None:
        grace = self._pod["spec"]["terminationGracePeriodSeconds"]
        for container in reversed(self._init):
            await container.stop(grace)
        await asyncio.gather(*self._sidecars)

    async def _end_at_deadline(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._deadline_status = {"reason": "DeadlineExceeded", "message": _DEADLINE_MESSAGE, "phase": "Failed"}
        self._host.events.record(self._pod, "DeadlineExceeded", _DEADLINE_MESSAGE)
        await self.stop(self._pod["spec"]["terminationGracePeriodSeconds"])

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return

    def _write_status(self) -> None:
        """Write the pod's status from the current state of its containers."""
        stored = self._host.registry.store.get(PODS, self._target.namespace, self._target.name)
        if stored is None:
            return
        view = PodView(
            init=[container.view() for container in self._init],
            main=[container.view() for container in self._main],
            restart_policy=self._policy,
            finished=self._finished,
        )
        old = stored.object.get("status") or {}
        status = pod_status(view, old, timestamp(self._host.now()))
        if self._finished:
            status.update(self._deadline_status)
        self._host.registry.set_status(self._target, self._uid, status)
