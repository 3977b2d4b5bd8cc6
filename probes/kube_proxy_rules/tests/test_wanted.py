from typing import Any

import pytest

from probes.kube_proxy_rules.comparing import problems
from probes.kube_proxy_rules.rules import Rules
from probes.kube_proxy_rules.wanted import Front, read

Json = dict[str, Any]
HTTP = {"name": "http", "port": 80}


def service(**spec: Any) -> Json:
    whole = {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": [HTTP], **spec}
    return {"metadata": {"namespace": "shop", "name": "web"}, "spec": whole}


def endpoint_slice(*endpoints: Json, family: str = "IPv4", port: str = "http") -> Json:
    return {
        "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": port, "port": 8080, "protocol": "TCP"}],
    }


def endpoint(address: str, node: str = "a", **more: Any) -> Json:
    conditions = {key: more.pop(key) for key in ("ready", "serving", "terminating") if key in more}
    return {"addresses": [address], "nodeName": node, "conditions": conditions, **more}


def backends(one: Json, *endpoints: Json) -> list[set[str]]:
    """The expected addresses of each front."""
    slices = [endpoint_slice(*endpoints)]
    return [{address for address, _port in found.backends} for found in read([one], slices, "a", 4)]


def test_ready_endpoints_are_needed_and_unset_counts_as_ready() -> None:
    assert backends(service(), endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False)) == [{"10.0.0.1"}]


def test_without_ready_endpoints_the_serving_ones_are_needed() -> None:
    terminating = endpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    assert backends(service(), terminating) == [{"10.0.0.1"}]
    assert backends(service(), terminating, endpoint("10.0.0.2")) == [{"10.0.0.2"}]


def test_local_policies_need_only_this_nodes_endpoints() -> None:
    endpoints = (endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b"))
    outside = service(type="NodePort", ports=[{**HTTP, "nodePort": 30080}], externalTrafficPolicy="Local")
    assert backends(outside, *endpoints) == [{"10.0.0.1", "10.0.0.2"}, {"10.0.0.1"}]
    assert backends(service(internalTrafficPolicy="Local"), *endpoints) == [{"10.0.0.1"}]


def test_each_family_has_its_own_fronts_and_endpoints() -> None:
    both = service(clusterIPs=["10.96.0.7", "fd00::7"])
    slices = [endpoint_slice(endpoint("10.0.0.1")), endpoint_slice(endpoint("fd00::1"), family="IPv6")]
    assert [(str(one.front), set(one.backends)) for one in read([both], slices, "a", 6)] == [
        ("[fd00::7]:80/tcp", {("fd00::1", 8080)})
    ]


@pytest.mark.parametrize(
    "one",
    [
        service(type="ExternalName", clusterIP="", clusterIPs=[]),
        service(clusterIP="None", clusterIPs=["None"]),
        {
            **service(),
            "metadata": {
                "namespace": "shop",
                "name": "web",
                "labels": {"service.kubernetes.io/service-proxy-name": "x"},
            },
        },
    ],
)
def test_services_ignored_by_kube_proxy_need_no_rules(one: Json) -> None:
    assert read([one], [endpoint_slice(endpoint("10.0.0.1"))], "a", 4) == []


def test_a_slice_of_another_port_is_ignored() -> None:
    [wanted] = read([service()], [endpoint_slice(endpoint("10.0.0.1"), port="metrics")], "a", 4)
    assert wanted.backends == frozenset()


def test_with_topology_hints_some_endpoints_suffice() -> None:
    hints = {"hints": {"forZones": [{"name": "z"}]}}
    wanted = read([service()], [endpoint_slice(endpoint("10.0.0.1", **hints), endpoint("10.0.0.2", **hints))], "a", 4)
    front = Front("10.96.0.7", "tcp", 80)
    assert problems(wanted, Rules("nftables", {front: frozenset({("10.0.0.1", 8080)})}), 4) == []
    assert problems(wanted, Rules("nftables", {front: frozenset()}), 4) == [
        "Service shop/web at 10.96.0.7:80/tcp refuses all connections, though 2 endpoints are ready"
    ]


def test_a_pod_is_named_with_its_endpoint() -> None:
    target = {"targetRef": {"kind": "Pod", "name": "web-1"}}
    wanted = read([service()], [endpoint_slice(endpoint("10.0.0.1", **target), endpoint("10.0.0.2"))], "a", 4)
    rules = Rules("ipvs", {Front("10.96.0.7", "tcp", 80): frozenset({("10.0.0.2", 8080), ("10.0.0.9", 8080)})})
    where = "Service shop/web at 10.96.0.7:80/tcp"
    assert problems(wanted, rules, 4) == [
        f"{where} does not forward to 10.0.0.1:8080 (pod web-1), which is ready",
        f"{where} forwards to 10.0.0.9:8080, which is not a ready endpoint of it: stale or wrong rule",
    ]
