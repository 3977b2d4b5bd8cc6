"""Makes a node pull an image, even if it has it already, and reports the duration or the cause of a failure.

Parameters: IMAGE, PULL_SECRET, TARGET_NAMESPACE, PULL_TIMEOUT, MAX_PULL_MS (README.md).
"""

import re
import time
from dataclasses import dataclass

from kubeprobe_client import CheckFailed, Run, give_up, main, measure, run, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._objects import Cleanup, fresh_name, metadata, pod_spec
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.image_pull.pull_state import Failure, Json, failure, has_pulled, pull_duration
from probes.pod_lifecycle.pod import why_not_ready

_REFERENCE = re.compile(
    r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]*(/[A-Za-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@[a-z0-9]+:[0-9a-f]+)?"
)


NOT_RETRIEVED = "FailedToRetrieveImagePullSecret"
"""The reason of the event about a missing pull secret, without which the kubelet continues."""
_REFUSALS = {"auth", "denied"}


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds unless named otherwise."""

    namespace: str
    image: str
    secret: str
    timeout: float
    max_ms: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        image = text("IMAGE", "")
        if not _REFERENCE.fullmatch(image):
            give_up(f"parameter IMAGE={image!r}: expected an image, such as registry.example.com/team/web:1.2")
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            image=image,
            secret=text("PULL_SECRET", ""),
            timeout=number("PULL_TIMEOUT", 60),
            max_ms=number("MAX_PULL_MS", 0),
        )


def pod_of(settings: Settings, this_run: Run, name: str) -> Json:
    """A pod whose image is always pulled; its command does not matter."""
    container = {"name": "image", "image": settings.image, "imagePullPolicy": "Always"}
    spec = pod_spec(container, restartPolicy="Never", activeDeadlineSeconds=round(settings.timeout) + 60)
    spec["terminationGracePeriodSeconds"] = 0
    if settings.secret:
        spec["imagePullSecrets"] = [{"name": settings.secret}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(this_run, name, settings.namespace), "spec": spec}


class Pull:
    """One pod whose image is pulled. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, settings: Settings, watch: ObjectWatch) -> None:
        self.api = api
        self.settings = settings
        self.watch = watch
        self.tries_failed = 0
        self.last: Failure | None = None

    def wait(self, seconds: float) -> None:
        """Wait until the image is pulled, or its pull has failed for a permanent reason."""
        self.watch.until(self._decided, seconds)
        pod = self.watch.object
        if not pod:
            raise CheckFailed("the pod was deleted by another client before its image was pulled")
        if has_pulled(pod):
            return
        node, secret_events = pod["spec"].get("nodeName", "none"), self._secret_events()[:1]
        if self.last is None:
            raise CheckFailed(
                f"{self.settings.image}: not pulled within {seconds:g} s: {why_not_ready(pod)}", *secret_events
            )
        fault, message = self.last.fault, self.last.message
        raise CheckFailed(
            f"{self.settings.image}: {fault.description}; kubelet on node {node}: {message}", *secret_events
        )

    def _decided(self, pod: Json) -> bool:
        found = failure(pod)
        if found is not None and (self.last is None or found.message != self.last.message):
            self.tries_failed += 1
        # A later "back-off" message must not hide the cause.
        if found is not None and (self.last is None or found.fault.name != "other"):
            self.last = found
        return has_pulled(pod) or (found is not None and not self._is_temporary(found))

    def _is_temporary(self, found: Failure) -> bool:
        """Whether to wait for the kubelet's next try, as it may receive a new secret late."""
        return found.fault.temporary or (found.fault.name in _REFUSALS and bool(self._secret_events()))

    def _secret_events(self) -> list[str]:
        """The kubelet's events about missing pull secrets, without which it pulls."""
        return [event["message"] for event in self._events() if event.get("reason") == NOT_RETRIEVED]

    def check_time(self, watched_ms: float) -> None:
        """Measure how long it took, and compare that with what is allowed."""
        reported = pull_duration(self._events())
        ms = reported[0] * 1000 if reported else watched_ms
        measure("pull_ms", round(ms, 1))
        if reported and reported[1]:
            measure("image_bytes", reported[1])
        if 0 < self.settings.max_ms < ms:
            node = self.watch.object["spec"].get("nodeName", "none")
            most = self.settings.max_ms
            took = f"pulled in {ms:.0f} ms on node {node}"
            raise CheckFailed(f"{self.settings.image}: {took}, expected at most {most:g} ms (MAX_PULL_MS)")

    def _events(self) -> list[Json]:
        """The pod's events; they may be missing, as they only make the time more accurate."""
        uid = self.watch.object["metadata"]["uid"]
        path = f"/api/v1/namespaces/{self.settings.namespace}/events"
        try:
            found: list[Json] = self.api.get(path, fieldSelector=f"involvedObject.uid={uid}").get("items") or []
        except ApiError:
            return []
        return found


def _pull(api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
    name = fresh_name("image-pull")
    pods = f"/api/v1/namespaces/{settings.namespace}/pods"
    with step("create"):
        created = cleanup.create(pods, pod_of(settings, this_run, name))
    pull = Pull(api, settings, ObjectWatch(api, f"{pods}/{name}", created))
    started = time.monotonic()
    try:
        with step("pull"):
            pull.wait(min(settings.timeout, this_run.remaining()))
    finally:
        measure("tries_failed", pull.tries_failed)
    with step("time"):
        pull.check_time((time.monotonic() - started) * 1000)
    with step("delete"):
        api.delete(f"{pods}/{name}", preconditions={"uid": created["metadata"]["uid"]})
        cleanup.forget(f"{pods}/{name}")


@main
def probe() -> None:
    """Create the pod, wait for its image, take the time; clean up in any case."""
    this_run = run()
    with connect() as api:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        with Cleanup(api) as cleanup:
            try:
                _pull(api, cleanup, settings, this_run)
            except ApiError as error:
                give_up_if_forbidden(error)
                raise
