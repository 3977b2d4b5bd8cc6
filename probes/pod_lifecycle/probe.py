"""Does what a user does with a pod: create it, wait until it is ready, read its log, delete it, wait for its deletion.

Each is a timed step. Parameters: IMAGE, TARGET_NAMESPACE, READY_TIMEOUT, DELETE_TIMEOUT (README.md).
"""

import secrets
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from kubeprobe_client import CheckFailed, Run, main, run, step

from probes._api import Api, ApiError, PermissionMissing, connect, give_up_if_forbidden
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.pod_lifecycle.pod import has_ended, is_ready, manifest, warnings, why_not_ready


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    namespace: str
    image: str
    ready_timeout: float
    delete_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            image=text("IMAGE", "docker.io/kubeprobe/busybox:dev"),
            ready_timeout=number("READY_TIMEOUT", 30),
            delete_timeout=number("DELETE_TIMEOUT", 30),
        )


class PodLifecycle:
    """The lifecycle of one pod. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.settings = settings
        self.run = this_run
        self.token = secrets.token_hex(6)
        self.name = f"pod-lifecycle-{self.token}"
        self.pods = f"/api/v1/namespaces/{settings.namespace}/pods"
        self.path = f"{self.pods}/{self.name}"
        self.watch = ObjectWatch(api, self.path, {})
        self.may_exist = False

    def create(self) -> None:
        """Create the pod."""
        lifetime = self.settings.ready_timeout + self.settings.delete_timeout + 60
        pod = manifest(self.name, self.settings.namespace, self.settings.image, self.token, self.run, lifetime)
        self.may_exist = True
        try:
            self.watch.object = self.api.create(self.pods, pod)
        except ApiError as error:
            self.may_exist = not 400 <= error.status < 500  # it may exist unless it was clearly refused
            raise

    def wait_ready(self) -> None:
        """Wait until the pod is ready."""
        seconds = self._at_most(self.settings.ready_timeout)
        self.watch.until(lambda pod: is_ready(pod) or has_ended(pod), seconds)
        pod = self.watch.object
        if not pod:
            self.may_exist = False
            raise CheckFailed(f"pod {self.name} was deleted by another client before it was ready")
        if not is_ready(pod):
            when = "ended before it was ready" if has_ended(pod) else f"not ready after {seconds:g} s"
            self._fail(f"pod {when}: {why_not_ready(pod)}")

    def read_logs(self) -> None:
        """Read the pod's log and find the token that the pod prints."""
        # The kubelet reports "running" at the start of the process; its first line may follow later.
        deadline = time.monotonic() + 5
        log = self.api.text(f"{self.path}/log", tailLines="10")
        while self.token not in log and time.monotonic() < deadline:
            time.sleep(0.2)
            log = self.api.text(f"{self.path}/log", tailLines="10")
        if self.token not in log:
            raise CheckFailed(f"the pod's log lacks {self.token!r}, which the pod prints first: {log[:200]!r}")

    def delete(self) -> None:
        """Request the pod's deletion."""
        self.api.delete(self.path, preconditions={"uid": self.watch.object["metadata"]["uid"]})

    def wait_deleted(self) -> None:
        """Wait until the pod is deleted from the API, which happens after its node has cleaned up."""
        seconds = self._at_most(self.settings.delete_timeout)
        if self.watch.until(lambda _pod: False, seconds):
            self.may_exist = False
            return
        pod = self.watch.object
        node = pod["spec"].get("nodeName", "none")
        finalizers = ", ".join(pod["metadata"].get("finalizers", []))
        why = f"held by the finalizers {finalizers}" if finalizers else f"kubelet on node {node} has not removed it"
        self._fail(f"pod not deleted after {seconds:g} s: {why}")

    def clean_up(self) -> None:
        """Delete the pod if it may still exist; errors are only logged."""
        if not self.may_exist:
            return
        try:
            self.api.delete(self.path, gracePeriodSeconds=0)
        except ApiError as error:
            if error.status != 404:
                sys.stderr.write(f"pod {self.settings.namespace}/{self.name} is not deleted: {error}\n")

    def _at_most(self, seconds: float) -> float:
        """The given seconds, or less if the run has less time left."""
        return min(seconds, round(max(self.run.remaining() - 1, 0), 1))

    def _fail(self, why: str) -> NoReturn:
        """Fail with the observed state, the API's last error, and the pod's last warnings."""
        problem = [self.watch.problem] if self.watch.problem else []
        raise CheckFailed(why, *problem, *self._warnings(why))

    def _warnings(self, reported: str) -> list[str]:
        """The pod's last warning events that add information; empty if they cannot be read: they are only details."""
        try:
            events = self.api.get(
                f"/api/v1/namespaces/{self.settings.namespace}/events",
                fieldSelector=f"involvedObject.uid={self.watch.object['metadata']['uid']}",
            )
        except PermissionMissing as error:
            return [f"no events: {error}"]
        except ApiError:
            return []
        return warnings(events.get("items") or [], reported)


@main
def probe() -> None:
    """Run the lifecycle of the pod, and clean up in any case."""
    this_run = run()
    with connect() as api:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        pod = PodLifecycle(api, settings, this_run)
        steps = {
            "create": pod.create,
            "ready": pod.wait_ready,
            "logs": pod.read_logs,
            "delete": pod.delete,
            "gone": pod.wait_deleted,
        }
        try:
            for name, action in steps.items():
                with step(name):
                    action()
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
        finally:
            pod.clean_up()
