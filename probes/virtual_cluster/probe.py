"""Does what a user of a virtual cluster does with a pod, and checks that the host cluster does the same.

Timed steps: create the pod with the virtual cluster's own kubeconfig, wait for its counterpart on the host, wait
until both are ready, delete it, wait until both are deleted. Parameters: README.md.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubeprobe_client import CheckFailed, Run, give_up, main, run, step

from probes._access import Access
from probes._api import Api, ApiError, PermissionMissing, connect, give_up_if_forbidden
from probes._kubeconfigs import access_from_kubeconfig, kubeconfigs_in
from probes._objects import BUSYBOX, Cleanup, fresh_name, metadata, pod_spec
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.pod_lifecycle.pod import has_ended, is_ready, warnings, why_not_ready
from probes.virtual_cluster.counterpart import Convention, wait_for

Json = dict[str, Any]

NAME_LABEL = {"app.kubernetes.io/name": "kubeprobe-virtual-cluster"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SCRIPT = "trap 'exit 0' TERM; sleep 600 & wait"


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    secret: str
    key: str
    server: str
    host_namespace: str
    namespace: str
    image: str
    convention: Convention
    counterpart_timeout: float
    ready_timeout: float
    delete_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        return cls(
            secret=text("KUBECONFIG_SECRET", "vc-virtual"),
            key=text("KUBECONFIG_KEY", "config"),
            server=text("SERVER", ""),
            host_namespace=text("HOST_NAMESPACE", own_namespace),
            namespace=text("VIRTUAL_NAMESPACE", "default"),
            image=text("IMAGE", BUSYBOX),
            convention=Convention(text("HOST_SELECTOR", ""), text("NAME_KEY", ""), text("NAMESPACE_KEY", "")),
            counterpart_timeout=number("COUNTERPART_TIMEOUT", 15),
            ready_timeout=number("READY_TIMEOUT", 30),
            delete_timeout=number("DELETE_TIMEOUT", 30),
        )

    @property
    def lifetime(self) -> float:
        """Seconds after which the pod ends by itself, as the probe's own pod cannot own it."""
        return self.counterpart_timeout + self.ready_timeout + self.delete_timeout + 60


class VirtualPodLifecycle:
    """The lifecycle of a pod in the virtual cluster and on the host. Raises CheckFailed with the observed state."""

    def __init__(self, host: Api, virtual: Api, settings: Settings, this_run: Run) -> None:
        self.virtual = virtual
        self.settings = settings
        self.run = this_run
        self.host_pods = f"/api/v1/namespaces/{settings.host_namespace}/pods"
        self.pods = f"/api/v1/namespaces/{settings.namespace}/pods"
        self.path = f"{self.pods}/{fresh_name('virtual-cluster')}"
        self.host = host
        self.watch = ObjectWatch(virtual, self.path, {})
        self.counterpart = ObjectWatch(host, self.host_pods, {})

    def delete_leftovers(self) -> None:
        """Delete leftovers of killed runs: owners and the host's sweeper have no effect in the virtual cluster."""
        selector = ",".join(f"{key}={value}" for key, value in NAME_LABEL.items())
        for pod in self.virtual.get(self.pods, labelSelector=selector).get("items") or []:
            created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
            if (datetime.now(UTC) - created).total_seconds() > self.settings.lifetime:
                sys.stdout.write(f"deleting {pod['metadata']['name']}, which an earlier run left behind\n")
                self.virtual.delete(f"{self.pods}/{pod['metadata']['name']}", gracePeriodSeconds=0)

    def create(self, cleanup: Cleanup) -> None:
        """Create the pod in the virtual cluster."""
        name = self.path.rpartition("/")[2]
        container = {"name": "user", "image": self.settings.image, "command": ["sh", "-c", _SCRIPT]}
        spec = pod_spec(container, restartPolicy="Never", activeDeadlineSeconds=round(self.settings.lifetime))
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(self.run, name, **NAME_LABEL), "spec": spec}
        self.watch.object = cleanup.create(self.pods, body)

    def wait_counterpart(self) -> None:
        """Wait until the host cluster has the pod too."""
        seconds = self._at_most(self.settings.counterpart_timeout)
        found = wait_for(self.host, self.host_pods, self.settings.convention, self.watch.object, seconds)
        if not found:
            why = f"no counterpart in namespace {self.settings.host_namespace} of the host after {seconds:g} s"
            reported = self._warnings()
            raise CheckFailed(
                *(
                    [f"{why}: {reported[0]}", *reported[1:]]
                    if reported
                    else [f"{why}: no warning event from the syncer"]
                )
            )
        self.counterpart = ObjectWatch(self.host, f"{self.host_pods}/{found['metadata']['name']}", found)

    def wait_host_ready(self) -> None:
        """Wait until the counterpart is ready."""
        self._wait_ready(self.counterpart, f"counterpart {self._counterpart_name} on the host")

    def wait_virtual_ready(self) -> None:
        """Wait until the virtual pod is ready too."""
        self._wait_ready(self.watch, "the counterpart is ready, but the virtual pod")

    def delete(self) -> None:
        """Request the pod's deletion in the virtual cluster."""
        self.virtual.delete(self.path, preconditions={"uid": self.watch.object["metadata"]["uid"]})

    def wait_counterpart_deleted(self) -> None:
        """Wait until the counterpart is deleted."""
        seconds = self._at_most(self.settings.delete_timeout)
        if self.counterpart.until(lambda _pod: False, seconds):
            return
        what = f"counterpart {self._counterpart_name} not deleted from the host after {seconds:g} s"
        raise CheckFailed(f"{what}: {why_not_deleted(self.counterpart.object)}")

    def wait_virtual_deleted(self, cleanup: Cleanup) -> None:
        """Wait until the pod is deleted from the virtual cluster."""
        seconds = self._at_most(self.settings.delete_timeout)
        if not self.watch.until(lambda _pod: False, seconds):
            why = why_not_deleted(self.watch.object)
            raise CheckFailed(f"pod not deleted from the virtual cluster after {seconds:g} s: {why}")
        cleanup.forget(self.path)

    @property
    def _counterpart_name(self) -> str:
        found = self.counterpart.object["metadata"]
        return f"{found['namespace']}/{found['name']}"

    def _wait_ready(self, watch: ObjectWatch, what: str) -> None:
        seconds = self._at_most(self.settings.ready_timeout)
        watch.until(lambda pod: is_ready(pod) or has_ended(pod), seconds)
        if not watch.object:
            raise CheckFailed(f"{what} was deleted by another client before it was ready")
        if not is_ready(watch.object):
            problem = [watch.problem] if watch.problem else []
            why = why_not_ready(watch.object)
            raise CheckFailed(f"{what} is not ready after {seconds:g} s: {why}", *problem, *self._warnings())

    def _at_most(self, seconds: float) -> float:
        """The given seconds, or less if the run has less time left."""
        return min(seconds, round(max(self.run.remaining() - 1, 0), 1))

    def _warnings(self) -> list[str]:
        """The virtual pod's last warnings, where syncers record their errors; empty if they cannot be read."""
        uid = self.watch.object["metadata"]["uid"]
        path = f"/api/v1/namespaces/{self.settings.namespace}/events"
        try:
            events = self.virtual.get(path, fieldSelector=f"involvedObject.uid={uid}")
        except ApiError:
            return []
        return warnings(events.get("items") or [], "")


def why_not_deleted(pod: Json) -> str:
    """Why a pod is not deleted."""
    if not pod["metadata"].get("deletionTimestamp"):
        return "the syncer has not requested its deletion"
    if finalizers := ", ".join(pod["metadata"].get("finalizers") or ()):
        return f"held by the finalizers {finalizers}"
    return f"kubelet on node {pod['spec'].get('nodeName', 'none')} has not removed it"


@contextmanager
def virtual_errors(settings: Settings) -> Iterator[None]:
    """Name the virtual cluster in its errors: rejected credentials are a finding, as users are rejected too."""
    try:
        yield
    except PermissionMissing as error:
        if error.status == 401:
            source = f"Secret {settings.host_namespace}/{settings.secret}"
            raise CheckFailed(f"the virtual cluster rejects the kubeconfig of {source}: {error}") from error
        give_up(f"{error}, in the virtual cluster")
    except ApiError as error:
        raise CheckFailed(f"virtual cluster: {error}") from error


@contextmanager
def host_errors() -> Iterator[None]:
    """A missing permission on the host makes the run unknown."""
    try:
        yield
    except ApiError as error:
        give_up_if_forbidden(error)
        raise


def run_steps(lifecycle: VirtualPodLifecycle, cleanup: Cleanup) -> None:
    """Run all steps in order."""
    settings = lifecycle.settings
    with step("connect"), virtual_errors(settings):
        lifecycle.delete_leftovers()
    with step("create"), virtual_errors(settings):
        lifecycle.create(cleanup)
    with step("counterpart"), host_errors():
        lifecycle.wait_counterpart()
    with step("host ready"), host_errors():
        lifecycle.wait_host_ready()
    with step("ready"), virtual_errors(settings):
        lifecycle.wait_virtual_ready()
    with step("delete"), virtual_errors(settings):
        lifecycle.delete()
    with step("counterpart gone"), host_errors():
        lifecycle.wait_counterpart_deleted()
    with step("gone"), virtual_errors(settings):
        lifecycle.wait_virtual_deleted(cleanup)


def why_unreachable(access: Access, settings: Settings) -> str:
    """Why this access cannot be a virtual cluster's; empty if it can.

    vcluster writes `localhost` by default.
    """
    if access.host not in _LOOPBACK:
        return ""
    service = f"https://{settings.secret.removeprefix('vc-')}.{settings.host_namespace}:443"
    source = f"Secret {settings.host_namespace}/{settings.secret}"
    return f"{source} has server {access.server}, which in a pod is the pod itself: set SERVER, such as {service}"


@main
def probe() -> None:
    """Run both lifecycles, and clean up in any case."""
    this_run = run()
    with connect() as host:
        settings = Settings.from_environment(this_run.namespace or host.access.namespace)
        source = f"Secret {settings.host_namespace}/{settings.secret}"
        found = kubeconfigs_in(host, settings.host_namespace, settings.secret)
        if settings.key not in found:
            give_up(f"{source} has no key {settings.key!r}; existing keys: {', '.join(sorted(found)) or 'none'}")
        access = access_from_kubeconfig(found[settings.key], f"{source}, key {settings.key}", settings.server)
        if why := why_unreachable(access, settings):
            give_up(why)
        with Api(access) as virtual, Cleanup(virtual) as cleanup:
            run_steps(VirtualPodLifecycle(host, virtual, settings, this_run), cleanup)
