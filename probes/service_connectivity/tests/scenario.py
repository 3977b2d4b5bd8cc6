"""The faults that service-connectivity must detect, on the real cluster."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from testbed.commands import run
from tests.probes.component_faults import without_component
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault

Json = dict[str, Any]
SOON = {"RULES_TIMEOUT": "4", "CONNECT_TIMEOUT": "1"}
POISON = "10.244.3.253"
RULES_OF_A_RUN = 6
"""kube-proxy's chains of endpoints for a run: three Services (the headless one has none), two pods."""


@contextmanager
def kube_proxy_freezes(bed: Bed) -> Iterator[None]:
    """kube-proxy creates the rules of a run's Services and is then suspended, so the rules keep deleted endpoints."""

    earlier = _endpoint_chains()  # of earlier runs: kube-proxy removes empty chains later

    def pause_after_the_rules_exist(done: threading.Event) -> None:
        while not done.wait(0.02):
            if len(_endpoint_chains() - earlier) >= RULES_OF_A_RUN:
                bed.testbed.pause("kube-proxy")
                return

    try:
        with _meanwhile(pause_after_the_rules_exist):
            yield
    finally:
        bed.testbed.resume("kube-proxy")


@contextmanager
def node_ports_closed(bed: Bed) -> Iterator[None]:
    """A packet filter of the node blocks its node ports."""
    with _filtered(bed, "prerouting", "tcp dport 30000-32767 drop"):
        yield


@contextmanager
def pods_cut_off(bed: Bed) -> Iterator[None]:
    """A packet filter blocks connections between pods; the kubelet still reaches them."""
    with _filtered(bed, "forward", "ip saddr 10.244.0.0/16 tcp dport 8080 drop"):
        yield


@contextmanager
def endpoints_poisoned(bed: Bed) -> Iterator[None]:
    """Each Service of the run has an additional endpoint that is not one of its pods."""

    def poison(done: threading.Event) -> None:
        with bed.for_a_thread() as own:
            poisoned: set[str] = set()
            while not done.wait(0.05):
                for service in own.api.get(f"/api/v1/namespaces/{NAMESPACE}/services")["items"]:
                    name = service["metadata"]["name"]
                    if name.endswith("-cluster-ip") and name not in poisoned:
                        own.api.create(_SLICES, _poison(service))
                        poisoned.add(name)

    with _meanwhile(poison):
        yield


_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"


def _poison(service: Json) -> Json:
    name, uid = service["metadata"]["name"], service["metadata"]["uid"]
    return {
        "metadata": {
            "name": f"{name}-poison",
            "labels": {"kubernetes.io/service-name": name},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid}],
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [POISON], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


@contextmanager
def _meanwhile(action: Callable[[threading.Event], None]) -> Iterator[None]:
    """While a thread runs this function, until it is stopped."""
    done = threading.Event()
    thread = threading.Thread(target=action, args=(done,))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _filtered(bed: Bed, hook: str, rule: str) -> Iterator[None]:
    """While the node's packet filter has this rule, in a table of its own."""
    table = f"table ip fault {{ chain fault {{ type filter hook {hook} priority -200; {rule}; }}; }}"
    _nft(bed, "-f", "-", stdin=table)
    try:
        yield
    finally:
        _nft(bed, "delete", "table", "ip", "fault")


def _nft(bed: Bed, *arguments: str, stdin: str | None = None) -> str:
    return run(bed.testbed.instance.in_namespace(["nft", *arguments]), stdin=stdin)


def _endpoint_chains() -> set[str]:
    """kube-proxy's chains for endpoints of any run's Services; this process is in the node's namespace."""
    lines = run(["nft", "list", "chains", "ip"]).splitlines()
    return {line.split()[1] for line in lines if "chain endpoint-" in line and "/service-" in line}


FAULTS = [
    Fault(
        "kube-proxy is down when the Services are created",
        without_component("kube-proxy"),
        says=r"^cluster-ip: Service \S+ \(10\.96\.\d+\.\d+:80\): \d+ of \d+ connections failed: no answer within 1 s",
        parameters=SOON,
    ),
    Fault(
        "kube-proxy hangs when a pod is deleted",
        kube_proxy_freezes,
        says=r"^stale: pod \S+ \(10\.244\.\d+\.\d+, node node\) is deleted, but connections are still sent to it: ",
        parameters=SOON,
    ),
    Fault(
        "a packet filter closes the node ports",
        node_ports_closed,
        says=r"^node-port: node port of node node \(10\.200\.0\.1:3\d{4}\): \d+ of \d+ connections failed",
        parameters=SOON,
    ),
    Fault(
        "a packet filter cuts the pods off from each other",
        pods_cut_off,
        says=r"^pods: pod \S+ \(10\.244\.\d+\.\d+, node node\) directly \S+ \d+ of \d+ connections failed: no answer",
        parameters=SOON,
    ),
    Fault(
        "an EndpointSlice lists a wrong address",
        endpoints_poisoned,
        says=rf"EndpointSlice \S+-poison of Service \S+ lists {POISON}, which is not an address of its pods",
        parameters=SOON,
    ),
]
