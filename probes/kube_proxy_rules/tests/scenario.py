"""The faults that kube-proxy-rules must detect, in the rules of the real node. They are recreated when a fault ends."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from testbed.commands import run
from tests.harness.wait import until
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault, State

Json = dict[str, Any]
NAME = "rules-of-the-tests"
SERVICE = f"{NAMESPACE}/{NAME}"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
FIRST, SECOND, WRONG = "10.244.3.1", "10.244.3.2", "10.244.3.66"
SOON = {"SETTLE": "4"}


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A Service with a node port and two endpoints, for which kube-proxy has created its rules."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": NAME}, "spec": {"type": "NodePort", "ports": ports}}
    with bed.cluster.having(NAMESPACE, "services", service), bed.cluster.having_at(SLICES, _slice(FIRST, SECOND)):
        until("rules for both endpoints", lambda: len(_endpoint_chains()) == 2)
        yield {"SETTLE": "30"}


def _slice(*addresses: str) -> Json:
    return {
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def _with_rules_changed(change: Callable[[Bed], None]) -> State:
    """While the rules are changed, not by kube-proxy."""

    @contextmanager
    def changed(bed: Bed) -> Iterator[None]:
        change(bed)
        try:
            yield
        finally:
            bed.testbed.stop("kube-proxy")
            _nft("delete", "table", "ip", "kube-proxy")  # kube-proxy does not repair existing endpoint chains
            bed.testbed.start("kube-proxy")
            until("kube-proxy's table", lambda: "table ip kube-proxy" in _nft("list", "tables"))
            until("rules for both endpoints", lambda: len(_endpoint_chains()) == 2)

    return changed


def _remove_the_service(bed: Bed) -> None:
    address = bed.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}")["spec"]["clusterIP"]
    _nft("delete", "element", "ip", "kube-proxy", "service-ips", f"{{ {address} . tcp . 80 }}")


def _empty_an_endpoint(_bed: Bed) -> None:
    _nft("flush", "chain", "ip", "kube-proxy", _chain_of(FIRST))


def _redirect_an_endpoint(_bed: Bed) -> None:
    chain = _chain_of(FIRST)
    _nft("flush", "chain", "ip", "kube-proxy", chain)
    _nft("add", "rule", "ip", "kube-proxy", chain, f"meta l4proto tcp dnat to {WRONG}:8080")


@contextmanager
def endpoint_removed_while_kube_proxy_is_down(bed: Bed) -> Iterator[None]:
    """An endpoint is deleted while kube-proxy is down."""
    with _kube_proxy_down(bed):
        _set_endpoints(bed, FIRST)
        try:
            yield
        finally:
            _set_endpoints(bed, FIRST, SECOND)


@contextmanager
def service_created_while_kube_proxy_is_down(bed: Bed) -> Iterator[None]:
    """A Service is created while kube-proxy is down."""
    name = f"{NAME}-new"
    service = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
    endpoint_slice = _slice(FIRST)
    endpoint_slice["metadata"] = {"name": name, "labels": {"kubernetes.io/service-name": name}}
    endpoint_slice["ports"] = [{"port": 80, "protocol": "TCP"}]
    with (
        _kube_proxy_down(bed),
        bed.cluster.having(NAMESPACE, "services", service),
        bed.cluster.having_at(SLICES, endpoint_slice),
    ):
        yield


@contextmanager
def _kube_proxy_down(bed: Bed) -> Iterator[None]:
    bed.testbed.stop("kube-proxy")
    try:
        yield
    finally:
        bed.testbed.start("kube-proxy")


def _set_endpoints(bed: Bed, *addresses: str) -> None:
    bed.api.patch(f"{SLICES}/{NAME}", {"endpoints": _slice(*addresses)["endpoints"]})


def _endpoint_chains() -> list[str]:
    """The chains of the Service's endpoints that have rules; this process is in the node's namespace."""
    entries = json.loads(_nft("-j", "list", "table", "ip", "kube-proxy"))["nftables"]
    with_rules = {entry["rule"]["chain"] for entry in entries if "rule" in entry}
    return sorted(name for name in with_rules if name.startswith("endpoint-") and f"-{SERVICE}/" in name)


def _chain_of(address: str) -> str:
    return next(name for name in _endpoint_chains() if f"__{address}/" in name)


def _nft(*arguments: str) -> str:
    return run(["nft", *arguments])


SERVICE_AT = rf"^node \S+: Service {SERVICE} at "

FAULTS = [
    Fault(
        "the rules of a Service are missing",
        _with_rules_changed(_remove_the_service),
        says=SERVICE_AT + r"10\.96\.\d+\.\d+:80/tcp has no rule: connections to it fail",
        parameters=SOON,
    ),
    Fault(
        "an endpoint's chain is empty",
        _with_rules_changed(_empty_an_endpoint),
        says=SERVICE_AT + r"10\.96\.\d+\.\d+:80/tcp: chain endpoint-\S+ has no target",
        parameters=SOON,
    ),
    Fault(
        "an endpoint's chain has a wrong address",
        _with_rules_changed(_redirect_an_endpoint),
        says=SERVICE_AT + r"node port 3\d+/tcp forwards to 10\.244\.3\.66:8080, which is not a ready endpoint of it",
        parameters=SOON,
    ),
    Fault(
        "an endpoint was removed while kube-proxy was down",
        endpoint_removed_while_kube_proxy_is_down,
        says=SERVICE_AT
        + r"10\.96\.\d+\.\d+:80/tcp forwards to 10\.244\.3\.2:8080, which is not a ready endpoint of it: stale",
        parameters=SOON,
    ),
    Fault(
        "a Service was created while kube-proxy was down",
        service_created_while_kube_proxy_is_down,
        says=rf"^node \S+: Service {SERVICE}-new at 10\.96\.\d+\.\d+:80/tcp has no rule",
        parameters=SOON,
    ),
]
