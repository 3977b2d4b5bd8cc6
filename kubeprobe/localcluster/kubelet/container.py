"""The lifecycle of one container: pull, configure, start, wait, and restart by its policy.

`pod` runs containers; `process` is the process of one.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

from kubeprobe.localcluster.images import Image, PullError
from kubeprobe.localcluster.kubelet.environment import ConfigError
from kubeprobe.localcluster.kubelet.host import Host
from kubeprobe.localcluster.kubelet.launch import Launch
from kubeprobe.localcluster.kubelet.logs import ContainerLog
from kubeprobe.localcluster.kubelet.process import Process, Program
from kubeprobe.localcluster.kubelet.readiness import watch_readiness
from kubeprobe.localcluster.kubelet.statuses import ContainerView
from kubeprobe.localcluster.objects import Object, timestamp
from kubeprobe.localcluster.quantities import parse_quantity

_MESSAGE_LIMIT = 4096
_CONFIG_RETRY_SECONDS = 2.0


class Container:
    """Runs one container of a pod until it has ended for good or is stopped."""

    def __init__(self, host: Host, pod: Object, spec: Object, restart: str, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.log = ContainerLog()
        self.previous_log: ContainerLog | None = None
        self.running = asyncio.Event()
        self._host = host
        self._pod = pod
        self._restart = restart
        self._on_change = on_change
        self._state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: Object = {}
        self._restarts = 0
        self._container_id = ""
        self._ready = False
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._launch = Launch(host, pod, spec)

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container with restartPolicy Always."""
        return self.spec.get("restartPolicy") == "Always"

    def view(self) -> ContainerView:
        """Its current state."""
        return ContainerView(
            name=self.name,
            image=self.spec["image"],
            state=self._state,
            last_state=self._last_state,
            restarts=self._restarts,
            ready=self._ready,
            container_id=self._container_id,
            sidecar=self.is_sidecar,
        )

    def prepare(self, volumes: dict[str, Path], token: str) -> None:
        """Set the volumes and the API token that the pod has prepared."""
        self._launch.volumes = volumes
        self._launch.token = token

    def wait_for_init(self) -> None:
        """Set the waiting reason of a container that comes after init containers."""
        self._state = {"waiting": {"reason": "PodInitializing"}}

    async def run(self) -> None:
        """Run until it has ended for good, or was stopped."""
        attempts = 0
        while not self._stopping.is_set():
            image = await self._pull()
            program = await self._configure(image) if image else None
            if program is None:
                return
            await self._run_once(program)
            if self._stopping.is_set() or not self._should_restart():
                return
            attempts += 1
            if attempts > 1:
                await self._back_off(attempts - 1)
                if self._stopping.is_set():
                    return
            self.previous_log, self.log = self.log, ContainerLog()
            self._restarts += 1

    async def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, and SIGKILL after the grace period."""
        first = not self._stopping.is_set()
        self._stopping.set()
        process = self._process
        if process is None:
            return
        if first:
            self._event("Killing", f"Stopping container {self.name}")
        process.signal(signal.SIGTERM if grace_seconds > 0 else signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(grace_seconds, 0.001)):
                await process.ended.wait()
            return
        process.signal(signal.SIGKILL)

    # Pull and configure

    async def _pull(self) -> Image | None:
        """The image; retries with back-off until it is available. None when stopped meanwhile."""
        name, policy = self.spec["image"], self.spec["imagePullPolicy"]
        attempts = 0
        while not self._stopping.is_set():
            try:
                image = self._host.images.find(name, policy)
            except PullError as error:
                attempts += 1
                await self._report_pull_failure(error, attempts)
            else:
                self._event("Pulled", f'Container image "{name}" already present on machine')
                return image
        return None

    async def _report_pull_failure(self, error: PullError, attempts: int) -> None:
        name = self.spec["image"]
        if error.reason == "ErrImagePull":
            self._event("Pulling", f'Pulling image "{name}"')
            self._event("Failed", f'Failed to pull image "{name}": {error.message}', warning=True)
        self._event("Failed", f"Error: {error.reason}", warning=True)
        self._wait_for(error.reason, error.message)
        if error.reason != "ErrImagePull":
            await self._pause(self._host.backoff.first)
            return
        delay = self._host.backoff.after(attempts)
        await self._pause(min(1.0, delay))
        self._event("BackOff", f'Back-off pulling image "{name}"')
        self._event("Failed", "Error: ImagePullBackOff", warning=True)
        self._wait_for("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {error.message}')
        await self._pause(delay)

    async def _configure(self, image: Image) -> Program | None:
        """The program to start; waits while an object it refers to is missing. None when stopped meanwhile."""
        while not self._stopping.is_set():
            try:
                return self._launch.program(image)
            except ConfigError as error:
                self._event("Failed", f"Error: {error}", warning=True)
                self._wait_for("CreateContainerConfigError", str(error))
                await self._pause(_CONFIG_RETRY_SECONDS)
        return None

    # Run

    async def _run_once(self, program: Program) -> None:
        self._host.sweeper.begin(program.mark)
        try:
            await self._start_and_wait(program)
        finally:
            self._host.sweeper.end(program.mark)

    async def _start_and_wait(self, program: Program) -> None:
        started = self._host.now()
        self._container_id = f"localcluster://{self._pod['metadata']['uid']}-{self.name}-{self._restarts}"
        self._event("Created", f"Created container: {self.name}")
        try:
            if not program.argv:
                raise FileNotFoundError("no command specified")
            process = await Process.start(program, self._take_output)
        except OSError as error:
            self._report_start_failure(program, error)
            return
        self._process = process
        if self._stopping.is_set():  # stopped during the start: `stop` found no process to kill
            process.signal(signal.SIGKILL)
        self._event("Started", f"Started container {self.name}")
        self._set_state({"running": {"startedAt": timestamp(started)}})
        self._ready = not self._has_readiness_probe()
        self.running.set()
        self._on_change()
        code = await self._wait(process, program)
        self._process = None
        self.log.end(self._host.now())
        reason = "OOMKilled" if process.out_of_memory else "Error" if code else "Completed"
        self._end(code, reason, self._termination_message(code), timestamp(started))

    async def _wait(self, process: Process, program: Program) -> int:
        """The exit code; until then, watch memory and readiness."""
        watchers = []
        limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
        if limit:
            watchers.append(process.limit_memory(int(parse_quantity(limit))))
        if self._has_readiness_probe():
            watchers.append(watch_readiness(self.spec["readinessProbe"], program, self._set_ready))
        tasks = [asyncio.create_task(watcher) for watcher in watchers]
        try:
            return await process.wait()
        finally:
            for task in tasks:
                task.cancel()

    def _set_ready(self, ready: bool) -> None:  # noqa: FBT001 -- a setter
        if self._process is not None and ready != self._ready:
            self._ready = ready
            self._on_change()

    def _take_output(self, data: bytes) -> None:
        self.log.write(data, self._host.now())

    def _report_start_failure(self, program: Program, error: OSError) -> None:
        executable = program.argv[0] if program.argv else ""
        why = "permission denied" if isinstance(error, PermissionError) else "executable file not found in $PATH"
        message = (
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
            f'failed: unable to start container process: error during container init: exec: "{executable}": {why}'
        )
        self._event("Failed", f"Error: {message}", warning=True)
        self.log.end(self._host.now())
        code = 126 if isinstance(error, PermissionError) else 128
        self._end(code, "StartError", message, "1970-01-01T00:00:00Z")

    def _end(self, code: int, reason: str, message: str, started: str) -> None:
        terminated: Object = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started,
            "finishedAt": timestamp(self._host.now()),
            "containerID": self._container_id,
        }
        if message:
            terminated["message"] = message
        self._ready = False
        self._set_state({"terminated": terminated})
        self._on_change()

    def _termination_message(self, code: int) -> str:
        """The last bytes of the message file, or of the log if the terminationMessagePolicy allows."""
        try:
            written = self._launch.message_file.read_bytes()[-_MESSAGE_LIMIT:]
        except OSError:
            written = b""
        if not written and code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return self.log.tail()
        return written.decode(errors="replace")

    # Restart

    def _should_restart(self) -> bool:
        if self._restart == "OnFailure":
            return not self.view().succeeded
        return self._restart == "Always"

    async def _back_off(self, failures: int) -> None:
        delay = self._host.backoff.after(failures)
        metadata = self._pod["metadata"]
        pod = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        self._event("BackOff", f"Back-off restarting failed container {self.name} in pod {pod}", warning=True)
        message = f"back-off {_duration(delay)} restarting failed container={self.name} pod={pod}"
        ended = self._state
        self._wait_for("CrashLoopBackOff", message)
        await self._pause(delay)
        if self._stopping.is_set():
            self._state = ended

    def _wait_for(self, reason: str, message: str) -> None:
        self._set_state({"waiting": {"reason": reason, "message": message}})
        self._on_change()

    def _set_state(self, state: Object) -> None:
        if "terminated" in self._state:
            self._last_state = self._state
        self._state = state

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _has_readiness_probe(self) -> bool:
        return "exec" in (self.spec.get("readinessProbe") or {})

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        field = f"spec.containers{{{self.name}}}"
        self._host.events.record(self._pod, reason, message, warning=warning, field=field)


def _duration(seconds: float) -> str:
    """Seconds in Go's format of durations: 10s, 1m20s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
