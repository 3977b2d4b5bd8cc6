"""Does what a user does with storage: claim it, write to it, read it from another pod, expand it, release it.

Parameters: STORAGE_CLASS, SIZE, EXPAND_TO, ACCESS_MODE, IMAGE, TARGET_NAMESPACE, BIND_TIMEOUT, MOUNT_TIMEOUT,
EXPAND_TIMEOUT, DELETE_TIMEOUT (README.md).
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from kubeprobe_client import CheckFailed, Run, give_up, main, run, step

from probes._api import Api, ApiError, PermissionMissing, connect, give_up_if_forbidden
from probes._objects import BUSYBOX, Cleanup, fresh_name
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.pod_lifecycle.pod import has_ended, is_ready, warnings, why_not_ready
from probes.volume_lifecycle import objects

Json = dict[str, Any]

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES = "/api/v1/persistentvolumes"
PAUSE = 0.5
"""Seconds between two checks of a volume."""


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds, sizes as Kubernetes quantities."""

    namespace: str
    storage_class: str
    size: str
    expand_to: str
    access_mode: str
    image: str
    bind_timeout: float
    mount_timeout: float
    expand_timeout: float
    delete_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        expand_to = text("EXPAND_TO", "2Gi")
        if expand_to != "none" and not objects.size_of(expand_to):
            give_up(f"parameter EXPAND_TO={expand_to!r}: expected a size such as 2Gi, or none")
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            storage_class=text("STORAGE_CLASS", ""),
            size=text("SIZE", "1Gi"),
            expand_to=expand_to,
            access_mode=text("ACCESS_MODE", "ReadWriteOnce"),
            image=text("IMAGE", BUSYBOX),
            bind_timeout=number("BIND_TIMEOUT", 60),
            mount_timeout=number("MOUNT_TIMEOUT", 60),
            expand_timeout=number("EXPAND_TIMEOUT", 180),  # a kubelet notices it after 60 to 90 s
            delete_timeout=number("DELETE_TIMEOUT", 60),
        )


class VolumeLifecycle:
    """The lifecycle of one volume. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.cleanup = cleanup
        self.settings = settings
        self.run = this_run
        self.token = secrets.token_hex(8)
        self.name = fresh_name("volume-lifecycle")
        self.claims = f"/api/v1/namespaces/{settings.namespace}/persistentvolumeclaims"
        self.pods = f"/api/v1/namespaces/{settings.namespace}/pods"
        self.claim = ObjectWatch(api, f"{self.claims}/{self.name}", {})
        self.storage_class: Json = {}
        self.volume = ""

    def run_steps(self) -> None:
        """Run all steps in order."""
        with step("class"):
            self.find_class()
        with step("claim"):
            self.claim.object = self.cleanup.create(self.claims, self._claim())
        # With WaitForFirstConsumer, the first pod's start is awaited instead.
        bind_first = not objects.waits_for_pod(self.storage_class)
        if bind_first:
            with step("bind"):
                self.wait_bound()
        with step("write"):
            self.write()
        if not bind_first:
            with step("bind"):
                self.wait_bound()
        with step("read"):
            reader = self.read()
        if self.storage_class.get("allowVolumeExpansion") and self.settings.expand_to != "none":
            with step("expand"):
                self.expand()
        with step("unmount"):
            self.remove(reader, "pod")
        with step("delete"):
            self.remove(self.claim, "claim")
        with step("reclaim"):
            self.wait_reclaimed()

    def find_class(self) -> None:
        """The requested StorageClass, or the default one."""
        classes = self.api.get(CLASSES).get("items") or []
        name = self.settings.storage_class
        found = objects.choose_class(classes, name)
        if found is None:
            available = ", ".join(sorted(one["metadata"]["name"] for one in classes)) or "none"
            what = f"no StorageClass {name}" if name else "no default StorageClass"
            raise CheckFailed(f"{what}; existing ones: {available}")
        if found.get("reclaimPolicy", "Delete") != "Delete":
            requested = found["metadata"]["name"]
            give_up(f"StorageClass {requested}: each run would leave a volume behind; expected reclaimPolicy Delete")
        self.storage_class = found

    def wait_bound(self) -> None:
        """Wait until the claim has its volume."""
        seconds = self._at_most(self.settings.bind_timeout)
        self.claim.until(objects.is_bound, seconds)
        if not self.claim.object:
            raise CheckFailed(f"claim {self.name} was deleted by another client before it was bound")
        if not objects.is_bound(self.claim.object):
            why = objects.why_not_bound(self.claim.object, self.storage_class)
            self._fail(f"claim {self.name} not bound after {seconds:g} s: {why}", self.claim.object)
        self.volume = self.claim.object["spec"]["volumeName"]

    def write(self) -> None:
        """Write from a pod, which is then deleted, so that the next one may run on another node."""
        writer = self._start("write", objects.writer(self.token))
        self._wait_for_pod(writer, "finished", has_ended)
        if writer.object["status"].get("phase") != "Succeeded":
            self._fail(f"pod cannot write to the volume: {why_not_ready(writer.object)}", writer.object)
        self.remove(writer, "pod")

    def read(self) -> ObjectWatch:
        """Read from another pod, which keeps running with the volume mounted."""
        reader = self._start("read", objects.reader(self.token), ready=self.token)
        self._wait_for_pod(reader, "ready", lambda pod: is_ready(pod) or has_ended(pod))
        different = objects.different_content(reader.object)
        if different is not None:
            raise CheckFailed(
                f"written data is lost: {self.token!r} was written, another pod reads {different[:200]!r}"
            )
        if not is_ready(reader.object):
            self._fail(f"pod cannot read from the volume: {why_not_ready(reader.object)}", reader.object)
        return reader

    def expand(self) -> None:
        """Request a larger size, and wait until the claim has it."""
        wanted = self.settings.expand_to
        path = f"{self.claims}/{self.name}"
        self.claim.object = self.api.patch(path, {"spec": {"resources": {"requests": {"storage": wanted}}}})
        seconds = self._at_most(self.settings.expand_timeout)
        if not self.claim.until(lambda claim: objects.is_expanded(claim, wanted), seconds):
            why = objects.why_not_expanded(self.claim.object, self.storage_class)
            self._fail(f"claim {self.name} not expanded to {wanted} after {seconds:g} s: {why}", self.claim.object)

    def remove(self, watched: ObjectWatch, what: str) -> None:
        """Delete a pod or the claim and wait until it is deleted."""
        name = watched.object["metadata"]["name"]
        path = f"{self.pods if what == 'pod' else self.claims}/{name}"
        watched.object = self.api.get(path)
        self.api.delete(path, preconditions={"uid": watched.object["metadata"]["uid"]})
        seconds = self._at_most(self.settings.delete_timeout)
        if not watched.until(lambda _object: False, seconds):
            state = objects.why_not_deleted(watched.object)
            why = f"kubelet has not stopped it or not unmounted its volume; {state}" if what == "pod" else state
            self._fail(f"{what} {name} not deleted after {seconds:g} s: {why}", watched.object)
        self.cleanup.forget(path)

    def wait_reclaimed(self) -> None:
        """Wait until the volume itself is deleted, as its reclaim policy requires."""
        seconds = self._at_most(self.settings.delete_timeout)
        deadline = time.monotonic() + seconds
        while volume := self._get_volume():
            if time.monotonic() >= deadline:
                status, state = volume.get("status") or {}, objects.why_not_deleted(volume)
                what = f"volume {self.volume} not deleted {seconds:g} s after its claim: {status.get('phase')}, {state}"
                message = f": {status['message']}" if status.get("message") else ""
                self._fail(f"{what}; provisioner {self.storage_class['provisioner']}{message}", volume)
            time.sleep(PAUSE)

    def _get_volume(self) -> Json:
        """The current volume; empty if it is deleted."""
        try:
            return self.api.get(f"{VOLUMES}/{self.volume}")
        except ApiError as error:
            if error.status != 404:
                raise
            return {}

    def _claim(self) -> Json:
        name = self.storage_class["metadata"]["name"]
        return objects.claim(self.run, self.name, self.settings.namespace, name, self.settings)

    def _start(self, what: str, script: str, ready: str = "") -> ObjectWatch:
        name = f"{self.name}-{what}"
        settings = self.settings
        lifetime = settings.mount_timeout + settings.expand_timeout + settings.bind_timeout + 60
        manifest = objects.pod(self.run, (name, settings.namespace, self.name), settings.image, script, lifetime, ready)
        return ObjectWatch(self.api, f"{self.pods}/{name}", self.cleanup.create(self.pods, manifest))

    def _wait_for_pod(self, pod: ObjectWatch, wanted: str, done: Callable[[Json], bool]) -> None:
        name = pod.object["metadata"]["name"]
        binds_late = objects.waits_for_pod(self.storage_class)
        seconds = self._at_most(self.settings.mount_timeout + (self.settings.bind_timeout if binds_late else 0))
        reached = pod.until(done, seconds)
        if not pod.object:
            raise CheckFailed(f"pod {name} was deleted by another client before it was {wanted}")
        if not reached:
            claim = f" ({objects.why_not_bound(self.claim.object, self.storage_class)})" if self._unbound() else ""
            self._fail(f"pod not {wanted} after {seconds:g} s: {why_not_ready(pod.object)}{claim}", pod.object)

    def _unbound(self) -> bool:
        """Whether the claim still has no volume, according to the API."""
        self.claim.object = self.api.get(f"{self.claims}/{self.name}")
        return not objects.is_bound(self.claim.object)

    def _at_most(self, seconds: float) -> float:
        """The given seconds, or less if the run has less time left."""
        return min(seconds, round(max(self.run.remaining() - 1, 0), 1))

    def _fail(self, why: str, *bodies: Json) -> NoReturn:
        """Fail with the observed state and the last warnings about these objects and the claim."""
        reported = [warning for body in (*bodies, self.claim.object) for warning in self._warnings(body, why)]
        raise CheckFailed(why, *dict.fromkeys(reported))

    def _warnings(self, body: Json, reported: str) -> list[str]:
        """The last warning events that add information; empty if they cannot be read: they are only details."""
        metadata = body.get("metadata") or {}
        # Events of cluster-scoped objects are in `default`.
        namespace = self.settings.namespace if metadata.get("namespace") else "default"
        query = {"fieldSelector": f"involvedObject.uid={metadata.get('uid', '')}"}
        try:
            events = self.api.get(f"/api/v1/namespaces/{namespace}/events", **query)
        except PermissionMissing as error:
            return [f"no events: {error}"]
        except ApiError:
            return []
        return warnings(events.get("items") or [], reported)


@main
def probe() -> None:
    """Run the lifecycle of the volume, and clean up in any case."""
    this_run = run()
    with connect() as api, Cleanup(api) as cleanup:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        try:
            VolumeLifecycle(api, cleanup, settings, this_run).run_steps()
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
