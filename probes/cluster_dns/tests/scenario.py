"""The faults that cluster-dns must detect, on the real cluster. DNS pods with a fault are added to the healthy one."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from testbed.commands import run
from testbed.images import ctr
from tests.harness.wait import until
from tests.probes.scenario import Bed, Fault

SYSTEM = "kube-system"
OUTSIDE = "outside.example"
OUTSIDE_ADDRESS = "192.0.2.10"
HEALTH = "errors\nhealth\nready\n"
CLUSTER = "kubernetes cluster.local in-addr.arpa ip6.arpa\n"
Json = dict[str, Any]


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """The cluster's own DNS, which resolves no external names on the test bed."""
    until("DNS to be ready", lambda: _ready_endpoints(bed))
    yield {}


def _with_second_pod(corefile: str) -> Callable[[Bed], AbstractContextManager[None]]:
    """A second DNS pod, ready like the first, with its own configuration."""

    @contextmanager
    def second_pod(bed: Bed) -> Iterator[None]:
        with dns_pod(bed, corefile):
            yield

    return second_pod


@contextmanager
def dns_pod(bed: Bed, corefile: str) -> Iterator[str]:
    """A DNS pod of that configuration behind the Service; its name."""
    name = "coredns-second"
    config = {"metadata": {"name": name}, "data": {"Corefile": corefile}}
    before = _ready_endpoints(bed)
    deployment = json.loads(bed.kubectl("-n", SYSTEM, "get", "deployment", "coredns", "-o", "json"))
    spec = deployment["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "config", "configMap": {"name": name}}]
    pod = {"metadata": {"name": name, "labels": {"k8s-app": "kube-dns"}}, "spec": spec}
    with (
        bed.cluster.having(SYSTEM, "configmaps", config),
        _finally(lambda: _delete_pod(bed, name, before)),
    ):
        bed.api.create(f"/api/v1/namespaces/{SYSTEM}/pods", pod)
        until("the second DNS pod to be an endpoint", lambda: len(_ready_endpoints(bed)) > len(before))
        yield name


@contextmanager
def one_of_two_frozen(bed: Bed) -> Iterator[None]:
    """A DNS pod whose process receives queries and answers none."""
    with dns_pod(bed, _corefile(CLUSTER)) as name:
        process = _process_of(bed, name)
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)


@contextmanager
def scaled_to_none(bed: Bed) -> Iterator[None]:
    """The DNS Service has no endpoint."""
    bed.kubectl("-n", SYSTEM, "scale", "deployment/coredns", "--replicas=0")
    try:
        until("no DNS endpoint", lambda: not _ready_endpoints(bed))
        yield
    finally:
        bed.kubectl("-n", SYSTEM, "scale", "deployment/coredns", "--replicas=1")
        until("DNS to be ready", lambda: _ready_endpoints(bed))


@contextmanager
def wrong_endpoint(bed: Bed) -> Iterator[None]:
    """The Service has an endpoint without a DNS server, to which half of all queries go."""
    body = {
        "metadata": {"name": "kube-dns-wrong", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.3.254"], "conditions": {"ready": True}}],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    }
    path = f"/apis/discovery.k8s.io/v1/namespaces/{SYSTEM}/endpointslices"
    bed.api.create(path, body)
    try:
        yield
    finally:
        bed.api.delete(f"{path}/kube-dns-wrong")


@contextmanager
def outside_fails(bed: Bed) -> Iterator[dict[str, str]]:
    """A second DNS pod resolves the external name; the cluster's own does not."""
    zone = f"hosts {{\n{OUTSIDE_ADDRESS} {OUTSIDE}\n}}\n"
    with dns_pod(bed, _corefile(CLUSTER, zone)):
        yield {"OUTSIDE_NAMES": f"{OUTSIDE}={OUTSIDE_ADDRESS}"}


def _corefile(*plugins: str) -> str:
    return f".:53 {{\n{HEALTH}{''.join(plugins)}}}\n"


def _rcode(code: str) -> str:
    return f"template ANY ANY {{\nrcode {code}\n}}\n"


@contextmanager
def _finally(undo: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        undo()


def _delete_pod(bed: Bed, name: str, before: set[str]) -> None:
    bed.kubectl("-n", SYSTEM, "delete", "pod", name, "--now", "--ignore-not-found")
    until("the second DNS pod's endpoint to be gone", lambda: _ready_endpoints(bed) == before)


def _ready_endpoints(bed: Bed) -> set[str]:
    slices = bed.api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{SYSTEM}/endpointslices",
        labelSelector="kubernetes.io/service-name=kube-dns",
    )
    return {
        address
        for endpoint_slice in slices["items"]
        for endpoint in endpoint_slice.get("endpoints") or []
        if endpoint["conditions"].get("ready")
        for address in endpoint["addresses"]
    }


def _process_of(bed: Bed, pod: str) -> int:
    status = bed.api.get(f"/api/v1/namespaces/{SYSTEM}/pods/{pod}")["status"]
    container = status["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    tasks = [line.split() for line in run([*ctr(bed.testbed.instance), "tasks", "list"]).splitlines()]
    return next(int(task[1]) for task in tasks if task[0] == container)


SECOND = r"DNS pod kube-system/coredns-second \(10\.244\.\d+\.\d+, node node\)"

FAULTS = [
    Fault(
        "no DNS pod runs",
        scaled_to_none,
        says=r"^endpoints: Service kube-system/kube-dns has no ready endpoint, so no name is resolved",
        parameters={"QUERY_TIMEOUT": "1"},
    ),
    Fault(
        "one of two DNS pods is frozen",
        one_of_two_frozen,
        says=rf"{SECOND}(: no answer within 1 s; (all \d+|failed) queries| has not been ready for)",
        parameters={"QUERY_TIMEOUT": "1", "UNREADY_GRACE": "0"},
    ),
    Fault(
        "one of two DNS pods refuses queries",
        _with_second_pod(_corefile(_rcode("REFUSED"))),
        says=rf"^pods: {SECOND}: REFUSED; all 5 queries failed",
    ),
    Fault(
        "one of two DNS pods has a wrong record",
        _with_second_pod(
            _corefile("hosts {\n10.9.9.9 kubernetes.default.svc.cluster.local\nfallthrough\n}\n", CLUSTER)
        ),
        says=rf"^pods: {SECOND}: wrong answer 10\.9\.9\.9, expected 10\.96\.0\.1; "
        r"failed queries: kubernetes\.default\.svc",
    ),
    Fault(
        "one of two DNS pods has no reverse records",
        _with_second_pod("cluster.local:53 {\nkubernetes cluster.local\n}\n" + _corefile(_rcode("NXDOMAIN"))),
        says=rf"^pods: {SECOND}: NXDOMAIN; failed queries: 1\.0\.96\.10\.in-addr\.arpa PTR over UDP",
    ),
    Fault(
        "the DNS Service has a wrong endpoint",
        wrong_endpoint,
        says=r"^endpoints: endpoint 10\.244\.3\.254 of Service kube-system/kube-dns "
        r"is not the address of one of its pods",
        parameters={"QUERY_TIMEOUT": "1"},
    ),
    Fault(
        "one of two DNS pods does not resolve an external name",
        outside_fails,
        says=rf"^pods: DNS pod kube-system/coredns-\S+ \(.*\): NXDOMAIN; failed queries: {OUTSIDE} A over UDP",
    ),
]
