from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from probes.cluster_dns.servers import Server, endpoint_servers, of_service, problems

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
BOTH = (("UDP", 53), ("TCP", 53))
PORTS = [
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    {"name": "metrics", "port": 9153, "protocol": "TCP"},
]


def service(**spec: Any) -> dict[str, Any]:
    kube_dns = {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "selector": {"k8s-app": "kube-dns"}}
    return {
        "metadata": {"namespace": "kube-system", "name": "kube-dns"},
        "spec": {**kube_dns, "ports": PORTS, **spec},
    }


def endpoint(name: str, ip: str, *, ready: bool | None = True) -> dict[str, Any]:
    return {
        "addresses": [ip],
        "nodeName": "a",
        "targetRef": {"kind": "Pod", "name": name},
        "conditions": {"ready": ready} if ready is not None else {},
    }


def slice_of(*endpoints: dict[str, Any]) -> dict[str, Any]:
    return {"ports": PORTS, "endpoints": list(endpoints)}


def pod(name: str, ip: str, *, ready: bool = True, seconds: float = 3600, waiting: str = "") -> dict[str, Any]:
    since = (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    return {
        "metadata": {"namespace": "kube-system", "name": name, "creationTimestamp": since},
        "spec": {"nodeName": "a"},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": since}],
            "containerStatuses": [{"state": state, "restartCount": 7}],
        },
    }


def found(slices: list[dict[str, Any]], pods: list[dict[str, Any]], **spec: Any) -> list[str]:
    return problems(service(**spec), slices, pods, NOW, 60)


def test_the_service_is_queried_on_its_dns_ports_only() -> None:
    assert of_service(service()) == Server("Service kube-system/kube-dns (10.96.0.10)", "10.96.0.10", BOTH, True)


def test_a_service_without_a_cluster_ip_is_refused() -> None:
    with pytest.raises(ValueError, match="has no cluster IP"):
        of_service(service(clusterIP="None", clusterIPs=["None"]))


def test_each_ready_endpoint_is_a_server_named_by_pod_and_node() -> None:
    one = slice_of(
        endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2", ready=False), endpoint("c", "10.0.0.3", ready=None)
    )
    two = slice_of(endpoint("a", "10.0.0.1"))
    assert endpoint_servers(service(), [one, two]) == [
        Server("DNS pod kube-system/a (10.0.0.1, node a)", "10.0.0.1", BOTH),
        Server("DNS pod kube-system/c (10.0.0.3, node a)", "10.0.0.3", BOTH),
    ]


def test_ready_pods_in_the_endpoints_are_not_a_problem() -> None:
    assert found([slice_of(endpoint("a", "10.0.0.1"))], [pod("a", "10.0.0.1")]) == []


def test_a_service_without_a_ready_endpoint_is_reported() -> None:
    expected = "Service kube-system/kube-dns has no ready endpoint, so no name is resolved; "
    assert found([], []) == [expected + "0 pods match its selector k8s-app=kube-dns"]
    assert found([], [], selector=None) == [expected + "it has no selector"]


def test_an_endpoint_whose_address_belongs_to_no_pod_is_named() -> None:
    wrong = found([slice_of(endpoint("a", "10.0.0.1"), endpoint("a", "10.0.0.9"))], [pod("a", "10.0.0.1")])
    assert wrong == ["endpoint 10.0.0.9 of Service kube-system/kube-dns is not the address of one of its pods"]


def test_a_pod_that_stays_unready_is_named_and_a_starting_one_is_not() -> None:
    endpoints = [slice_of(endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2", ready=False))]
    stuck = pod("b", "10.0.0.2", ready=False, seconds=61, waiting="CrashLoopBackOff")
    assert found(endpoints, [pod("a", "10.0.0.1"), stuck]) == [
        "DNS pod kube-system/b (10.0.0.2, node a) has not been ready for 61 s: CrashLoopBackOff, 7 restarts"
    ]
    assert found(endpoints, [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", ready=False, seconds=59)]) == []


def test_a_ready_pod_missing_from_the_endpoints_is_named_after_a_delay() -> None:
    endpoints = [slice_of(endpoint("a", "10.0.0.1"))]
    assert found(endpoints, [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]) == [
        "DNS pod kube-system/b (10.0.0.2, node a) is ready but not among the endpoints of Service kube-system/kube-dns"
    ]
    assert found(endpoints, [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", seconds=5)]) == []


def test_a_terminating_or_ended_pod_is_ignored() -> None:
    terminating = pod("b", "10.0.0.2", ready=False)
    terminating["metadata"]["deletionTimestamp"] = "2026-11-25T11:59:00Z"
    evicted = pod("c", "10.0.0.3", ready=False)
    evicted["status"]["phase"] = "Failed"
    assert found([slice_of(endpoint("a", "10.0.0.1"))], [pod("a", "10.0.0.1"), terminating, evicted]) == []
