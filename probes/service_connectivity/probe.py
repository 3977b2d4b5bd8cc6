"""Connects to two server pods by every type of Service, deletes one, and checks that no connection is sent to it.

Parameters: IMAGE, TARGET_NAMESPACE, CLUSTER_DOMAIN, CONNECTIONS, CONNECT_TIMEOUT, READY_TIMEOUT, RULES_TIMEOUT
(README.md).
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from kubeprobe_client import CheckFailed, Run, main, measure, run, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._objects import BUSYBOX, Cleanup, fresh_name
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.pod_lifecycle.pod import is_ready, why_not_ready
from probes.service_connectivity.connections import Series, Target, connect_until
from probes.service_connectivity.objects import (
    PORT,
    SERVICE_PORT,
    Backend,
    Json,
    backend,
    ready_addresses,
    server_pod,
    service,
)

POLL = 0.2
"""Seconds between two checks of EndpointSlices and DNS."""


CHECK_KUBE_PROXY = (
    "its EndpointSlices are correct and the pods answer directly: check kube-proxy (or its replacement) and packet "
    "filters on this probe's node"
)


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    namespace: str
    image: str
    domain: str
    in_a_row: int
    connect_timeout: float
    ready_timeout: float
    rules_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            image=text("IMAGE", BUSYBOX),
            domain=text("CLUSTER_DOMAIN", "cluster.local").strip("."),
            in_a_row=max(round(number("CONNECTIONS", 30)), 2),
            connect_timeout=max(number("CONNECT_TIMEOUT", 2), 0.1),
            ready_timeout=number("READY_TIMEOUT", 30),
            rules_timeout=number("RULES_TIMEOUT", 10),
        )


class ServiceConnectivity:
    """Two server pods, and the paths to them. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.cleanup = cleanup
        self.settings = settings
        self.run = this_run
        self.group = fresh_name("service")
        self.base = f"/api/v1/namespaces/{settings.namespace}"
        self.pods: dict[str, ObjectWatch] = {}
        self.backends: list[Backend] = []
        self.services: dict[str, Json] = {}
        self.affinity_pod = ""
        """The pod that session affinity has selected."""
        self.targets: list[Target] = []
        """The paths that kube-proxy implements."""

    def create(self) -> None:
        """Create both pods and the four Services."""
        settings = self.settings
        lifetime = settings.ready_timeout + 8 * settings.rules_timeout + 60
        for number_ in (1, 2):
            name = f"{self.group}-{number_}"
            pod = server_pod(self.run, name, settings.namespace, self.group, settings.image, lifetime)
            created = self.cleanup.create(f"{self.base}/pods", pod)
            self.pods[name] = ObjectWatch(self.api, f"{self.base}/pods/{name}", created)
        kinds: dict[str, Json] = {
            "cluster-ip": {},
            "node-port": {"type": "NodePort"},
            "headless": {"clusterIP": "None"},
            "affinity": {"sessionAffinity": "ClientIP"},
        }
        for kind, spec in kinds.items():
            body = service(self.run, f"{self.group}-{kind}", settings.namespace, self.group, **spec)
            self.services[kind] = self.cleanup.create(f"{self.base}/services", body)

    def wait_ready(self) -> None:
        """Wait until both pods are ready."""
        deadline = time.monotonic() + self.settings.ready_timeout
        for name, watch in self.pods.items():
            watch.until(is_ready, max(deadline - time.monotonic(), 0))
            if not watch.object:
                raise CheckFailed(f"pod {name} was deleted by another client before it was ready")
            if not is_ready(watch.object):
                why = why_not_ready(watch.object)
                raise CheckFailed(f"pod {name} not ready after {self.settings.ready_timeout:g} s: {why}")
        self.backends = [backend(watch.object) for watch in self.pods.values()]

    def wait_for_endpoints(self) -> None:
        """Wait until the EndpointSlices of each Service list both pods and nothing else."""
        deadline = time.monotonic() + self.settings.rules_timeout
        for kind in self.services:
            while (wrong := self._endpoint_errors(kind, self.backends)) and time.monotonic() < deadline:
                time.sleep(POLL)
            if wrong:
                raise CheckFailed(*wrong)

    def reach_pods(self) -> None:
        """Reach each pod at its own address: a failure here is not a Service's fault."""
        for server in self.backends:
            target = Target(f"{server} directly", server.address, PORT)
            series = self._connect_until(target, {server.name}.__eq__)
            if not series.succeeded:
                observed = self._summary(series, [server])
                raise CheckFailed(
                    f"{target}: {observed}, although the pod is ready: check the pod network and NetworkPolicies"
                )
            measure("pod_ms", series.median_ms)

    def reach_cluster_ip(self) -> None:
        """Reach both pods through the cluster IP."""
        target = self._cluster_ip_target("cluster-ip")
        self.targets.append(target)
        self._reach_all(target, "cluster_ip")

    def reach_node_port(self) -> None:
        """Reach both pods through the node port, at the node of each pod."""
        port = self.services["node-port"]["spec"]["ports"][0]["nodePort"]
        for server in {each.node: each for each in self.backends}.values():
            target = Target(f"node port of node {server.node}", server.node_address, port)
            self.targets.append(target)
            self._reach_all(target, "node_port")

    def reach_headless(self) -> None:
        """Resolve the headless Service's name: it must resolve to both pods, and both must answer."""
        name = f"{self.group}-headless.{self.settings.namespace}.svc.{self.settings.domain}"
        expected = {server.address for server in self.backends}
        deadline = time.monotonic() + self.settings.rules_timeout
        found, error = _resolve(name)
        while found != expected and time.monotonic() < deadline:
            time.sleep(POLL)
            found, error = _resolve(name)
        if found != expected:
            problem = error or f"resolves to {_listed(found)}"
            raise CheckFailed(f"name of the headless Service {name}: {problem}, expected {_listed(expected)}")

    def reach_with_affinity(self) -> None:
        """Connect through the Service with session affinity: the same pod must answer every time."""
        target = self._cluster_ip_target("affinity")
        series = self._connect_until(target, lambda names: len(names) == 1)
        if not series.succeeded:
            self._fail(target, "affinity", series, self.backends)
        [self.affinity_pod] = series.pods
        self.targets.append(target)

    def delete_one(self) -> None:
        """Delete the pod that session affinity has selected, and wait for its deletion."""
        watch = self.pods[self.affinity_pod]
        path = f"{self.base}/pods/{self.affinity_pod}"
        self.api.delete(path, preconditions={"uid": watch.object["metadata"]["uid"]})
        if not watch.until(lambda _pod: False, self.settings.ready_timeout):
            raise CheckFailed(f"pod {self.affinity_pod} not deleted after {self.settings.ready_timeout:g} s")
        self.cleanup.forget(path)

    def check_stale_rules(self) -> None:
        """Connect by every path again: no connection may be sent to the deleted pod."""
        remaining = [server for server in self.backends if server.name != self.affinity_pod]
        names = {server.name for server in remaining}
        slowest = 0.0
        for target in self.targets:
            series = self._connect_until(target, lambda answered_by: answered_by == names)
            if not series.succeeded:
                kind = "affinity" if "affinity" in target.name else "cluster-ip"
                deleted = next(server for server in self.backends if server.name == self.affinity_pod)
                reason = f"{deleted} is deleted, but connections are still sent to it"
                self._fail(target, kind, series, remaining, reason)
            slowest = max(slowest, series.seconds)
        measure("followed_deletion_ms", round(slowest * 1000, 1))

    def remove_services(self) -> None:
        """Delete the Services."""
        for body in self.services.values():
            path = f"{self.base}/services/{body['metadata']['name']}"
            self.api.delete(path, preconditions={"uid": body["metadata"]["uid"]})
            self.cleanup.forget(path)

    def _reach_all(self, target: Target, name: str) -> None:
        expected = {server.name for server in self.backends}
        series = self._connect_until(target, lambda names: names == expected)
        if not series.succeeded:
            self._fail(target, name.replace("_", "-"), series, self.backends)
        measure(f"{name}_ms", series.median_ms)
        measure(f"{name}_rules_ms", round(series.seconds * 1000, 1))

    def _connect_until(self, target: Target, expected: Callable[[set[str]], bool]) -> Series:
        seconds = min(self.settings.rules_timeout, self.run.remaining())
        return connect_until(target, expected, self.settings.in_a_row, seconds, self.settings.connect_timeout)

    def _cluster_ip_target(self, kind: str) -> Target:
        body = self.services[kind]
        return Target(f"Service {body['metadata']['name']}", body["spec"]["clusterIP"], SERVICE_PORT)

    def _fail(self, target: Target, kind: str, series: Series, expected: list[Backend], first: str = "") -> NoReturn:
        """Fail with the observed state and the cause: wrong EndpointSlices, or this node's kube-proxy."""
        observed = f"{target}: {self._summary(series, expected)} after {series.seconds:.1f} s"
        errors = [f"{first}: {observed}" if first else observed]
        wrong = self._endpoint_errors(kind, expected)
        errors += wrong or [CHECK_KUBE_PROXY]
        raise CheckFailed(*errors)

    def _summary(self, series: Series, expected: list[Backend]) -> str:
        """A summary of the last connections."""
        total = len(series.last)
        if series.errors:
            kinds = ", ".join(f"{error} ({count})" for error, count in series.errors.most_common(3))
            return f"{series.errors.total()} of {total} connections failed: {kinds}"
        names = {server.name for server in expected}
        if unexpected := set(series.pods) - {server.name for server in self.backends}:
            return f"answered by an unexpected server: {min(unexpected)[:60]!r}"
        if missing := names - set(series.pods):
            return f"none of {total} connections was answered by pod {_listed(missing)}"
        return f"{total} connections were answered by {_listed(set(series.pods))}"

    def _endpoint_errors(self, kind: str, expected: list[Backend]) -> list[str]:
        name = self.services[kind]["metadata"]["name"]
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.settings.namespace}/endpointslices"
        listed = self.api.get(path, labelSelector=f"kubernetes.io/service-name={name}")
        found = ready_addresses(listed.get("items") or [])
        by_address = {server.address: server for server in expected}
        unexpected = [(address, found[address]) for address in sorted(set(found) - set(by_address))]
        missing = [by_address[address] for address in sorted(set(by_address) - set(found))]
        return [
            f"EndpointSlice {slice_name} of Service {name} lists {address}, which is not an address of its pods"
            for address, slice_name in unexpected
        ] + [
            f"no EndpointSlice of Service {name} lists {server}, which is ready: check kube-controller-manager"
            for server in missing
        ]


def _resolve(name: str) -> tuple[set[str], str]:
    try:
        found = socket.getaddrinfo(name, SERVICE_PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        return set(), f"does not resolve ({error})"
    return {str(entry[4][0]) for entry in found}, ""


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _run_steps(lifecycle: ServiceConnectivity) -> None:
    needed = {
        "create": lifecycle.create,
        "ready": lifecycle.wait_ready,
        "endpoints": lifecycle.wait_for_endpoints,
        "pods": lifecycle.reach_pods,
    }
    for name, action in needed.items():
        with step(name):
            action()
    # Each path has its own rules, so the next one is tested after a failure.
    tests = {
        "cluster-ip": lifecycle.reach_cluster_ip,
        "node-port": lifecycle.reach_node_port,
        "headless": lifecycle.reach_headless,
    }
    failed = False
    for name, action in {**tests, "affinity": lifecycle.reach_with_affinity}.items():
        try:
            with step(name):
                action()
        except ApiError:
            raise
        except CheckFailed:
            failed = True
    if failed:
        return  # recorded; stale rules can be found only if all paths work
    with step("delete"):
        lifecycle.delete_one()
    with step("stale"):
        lifecycle.check_stale_rules()
    with step("remove"):
        lifecycle.remove_services()


@main
def probe() -> None:
    """Set up, test every path, delete one pod, test every path again; clean up in any case."""
    this_run = run()
    with connect() as api:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        with Cleanup(api) as cleanup:
            lifecycle = ServiceConnectivity(api, cleanup, settings, this_run)
            try:
                _run_steps(lifecycle)
            except ApiError as error:
                give_up_if_forbidden(error)
                raise
