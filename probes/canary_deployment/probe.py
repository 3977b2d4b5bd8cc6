"""Does what a team does with a service: roll it out, reach it, update it under traffic, roll it back, remove it.

Parameters: IMAGE, UPDATE_IMAGE, REPLICAS, TARGET_NAMESPACE, READY_TIMEOUT, REACH_TIMEOUT, REQUEST_TIMEOUT,
MAX_LOST, DELETE_TIMEOUT (README.md).
"""

import time
from dataclasses import dataclass
from typing import Any, NoReturn

from kubeprobe_client import CheckFailed, Run, main, measure, run, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._objects import Cleanup, fresh_name
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.canary_deployment import objects, rollout
from probes.canary_deployment.server import PORT
from probes.canary_deployment.traffic import NoAnswer, Traffic, request_until, request_version
from probes.pod_lifecycle.pod import why_not_ready

Json = dict[str, Any]

PROBES_IMAGE = "docker.io/kubeprobe/probes:dev"
PAUSE = 0.25
"""Seconds between two checks of endpoints or remaining objects."""


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    namespace: str
    image: str
    update_image: str
    replicas: int
    ready_timeout: float
    reach_timeout: float
    request_timeout: float
    max_lost: int
    delete_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        image = text("IMAGE", PROBES_IMAGE)
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            image=image,
            update_image=text("UPDATE_IMAGE", image),
            replicas=max(round(number("REPLICAS", 2)), 1),
            ready_timeout=number("READY_TIMEOUT", 60),
            reach_timeout=number("REACH_TIMEOUT", 10),
            request_timeout=number("REQUEST_TIMEOUT", 5),
            max_lost=round(number("MAX_LOST", 0)),
            delete_timeout=number("DELETE_TIMEOUT", 30),
        )


class Canary:
    """One Deployment and its Service. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.cleanup = cleanup
        self.settings = settings
        self.run = this_run
        self.name = fresh_name("canary")
        inside = f"/namespaces/{settings.namespace}"
        self.deployments = f"/apis/apps/v1{inside}/deployments"
        self.services = f"/api/v1{inside}/services"
        self.pods = f"/api/v1{inside}/pods"
        self.slices = f"/apis/discovery.k8s.io/v1{inside}/endpointslices"
        self.watch = ObjectWatch(api, f"{self.deployments}/{self.name}", {})
        self.address = ""

    def run_steps(self) -> None:
        """Run all steps in order."""
        with step("create"):
            self.create()
        with step("rollout"):
            self.wait_rolled_out()
        with step("endpoints"):
            self.wait_endpoints()
        with step("reach"):
            self.reach("v1")
        with step("update"):
            self.change("update", self.settings.update_image, "v2")
        with step("rollback"):
            self.change("rollback", self.settings.image, "v1")
        with step("delete"):
            self.delete()
        with step("gone"):
            self.wait_gone()

    def create(self) -> None:
        """Create Service and Deployment."""
        settings = self.settings
        service = self.cleanup.create(self.services, objects.service(self.run, self.name, settings.namespace))
        self.address = service["spec"]["clusterIP"]
        template = objects.pod_template(self.run, self.name, settings.image, "v1")
        deployment = objects.deployment(self.run, self.name, settings.namespace, settings.replicas, template)
        self.watch.object = self.cleanup.create(self.deployments, deployment)

    def wait_rolled_out(self) -> None:
        """Wait until all pods of the newest template are available, and no old ones are counted."""
        began, seconds = time.monotonic(), self._at_most(self.settings.ready_timeout)
        self.watch.until(rollout.is_rolled_out, seconds)
        if not self.watch.object:
            raise CheckFailed(f"deployment {self.name} was deleted by another client")
        if not rollout.is_rolled_out(self.watch.object):
            why = rollout.why_not_rolled_out(self.watch.object, self._pods(), why_not_ready)
            problem = [self.watch.problem] if self.watch.problem else []
            raise CheckFailed(
                f"deployment {self.name} not rolled out after {time.monotonic() - began:.0f} s: {why}", *problem
            )

    def wait_endpoints(self) -> None:
        """Wait until the Service's endpoints are exactly the ready pods."""
        deadline = time.monotonic() + self._at_most(self.settings.reach_timeout)
        while True:
            slices, pods = self._slices(), self._pods()
            wrong = rollout.wrong_endpoints(slices, pods)
            if not wrong and rollout.ready_addresses(slices):
                return
            if time.monotonic() > deadline:
                raise CheckFailed(*(wrong or [f"service {self.name} has no ready endpoint"]))
            time.sleep(PAUSE)

    def reach(self, version: str) -> None:
        """Wait until only this version answers through the Service, and measure how long that takes."""
        began = time.monotonic()
        within = self._at_most(self.settings.reach_timeout)
        instead = request_until(version, self.address, 80, self.settings.request_timeout, within)
        if instead:
            self._fail_unreached(version, instead)
        measure("reach_ms", round((time.monotonic() - began) * 1000, 1))

    def change(self, what: str, image: str, version: str) -> None:
        """Roll out another template under traffic: no request may be lost, and all must reach the new version."""
        began = time.monotonic()
        template = objects.pod_template(self.run, self.name, image, version)
        with Traffic(self.address, 80, self.settings.request_timeout) as traffic:
            try:
                path = f"{self.deployments}/{self.name}"
                self.watch.object = self.api.patch(path, {"spec": {"template": template}})
                self.wait_rolled_out()
                self.wait_endpoints()
                self.reach(version)
                self._wait_drained()
            except ApiError:
                raise
            except CheckFailed as error:
                raise CheckFailed(*error.args, *filter(None, [traffic.loss(what)])) from error
        measure(f"{what}_ms", round((time.monotonic() - began) * 1000, 1))
        measure(f"{what}_requests", traffic.sent)
        measure(f"{what}_lost", len(traffic.lost))
        if len(traffic.lost) > self.settings.max_lost:
            raise CheckFailed(traffic.loss(what))

    def delete(self) -> None:
        """Delete Deployment and Service."""
        for path in (f"{self.deployments}/{self.name}", f"{self.services}/{self.name}"):
            self.api.delete(path, propagationPolicy="Background")
            self.cleanup.forget(path)

    def wait_gone(self) -> None:
        """Wait until pods and endpoints are deleted too."""
        deadline = time.monotonic() + self._at_most(self.settings.delete_timeout)
        while left := [*self._pods(), *self._slices()]:
            if time.monotonic() > deadline:
                names = ", ".join(one["metadata"]["name"] for one in left)
                held = ", ".join(left[0]["metadata"].get("finalizers") or []) or "none"
                raise CheckFailed(
                    f"{names} still exist {self.settings.delete_timeout:g} s after the deletion of deployment and "
                    f"service {self.name}; finalizers: {held}"
                )
            time.sleep(PAUSE)

    def _wait_drained(self) -> None:
        """Wait until the old pods are deleted, as requests are mostly lost during their termination."""
        deadline = time.monotonic() + self._at_most(self.settings.delete_timeout)
        while len(pods := self._pods()) > self.settings.replicas:
            if time.monotonic() > deadline:
                names = ", ".join(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"])
                raise CheckFailed(f"old pods {names} still exist {self.settings.delete_timeout:g} s after the rollout")
            time.sleep(PAUSE)

    def _fail_unreached(self, version: str, instead: str) -> NoReturn:
        """Fail with the cause: the pods, or the Service."""
        unreachable = []
        addresses = rollout.pod_addresses(self._pods())
        for address, name in addresses.items():
            try:
                request_version(address, PORT, self.settings.request_timeout)
            except NoAnswer as error:
                unreachable.append(f"pod {name} ({address}) does not answer directly either: {error}")
        where = f"service {self.name} ({self.address}:80)"
        causes = unreachable or [f"all {len(addresses)} pods answer directly: kube-proxy has not set up the Service"]
        raise CheckFailed(f"{where} does not return version {version!r}: {instead}; {causes[0]}", *causes[1:])

    def _pods(self) -> list[Json]:
        return self.api.get(self.pods, labelSelector=objects.selector(self.name)).get("items") or []

    def _slices(self) -> list[Json]:
        return self.api.get(self.slices, labelSelector=f"kubernetes.io/service-name={self.name}").get("items") or []

    def _at_most(self, seconds: float) -> float:
        """The given seconds, or less if the run has less time left."""
        return min(seconds, round(max(self.run.remaining() - 1, 0), 1))


@main
def probe() -> None:
    """Run the lifecycle of the canary, and clean up in any case."""
    this_run = run()
    with connect() as api, Cleanup(api) as cleanup:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        try:
            Canary(api, cleanup, settings, this_run).run_steps()
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
