import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

from probes.capacity import findings

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)


def pod(name: str = "web", node: str = "", phase: str = "Pending", **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "creationTimestamp": at(minutes=30)}
    return {"metadata": metadata, "spec": {"nodeName": node, **spec}, "status": {"phase": phase}}


def at(**ago: float) -> str:
    return (NOW - timedelta(**ago)).isoformat().replace("+00:00", "Z")


def unscheduled(name: str, reason: str = "Unschedulable", **ago: float) -> dict[str, Any]:
    found = pod(name)
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/9 nodes are available"}
    found["status"]["conditions"] = [{**condition, "lastTransitionTime": at(**ago)}]
    return found


def node(name: str, pods: str = "110", *cidrs: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}, "status": {"allocatable": {"pods": pods}}}


def counted(*pods: dict[str, Any]) -> findings.Pods:
    found = findings.Pods()
    for one in pods:
        found.count(one, NOW, 120)
    return found


def test_unschedulable_pods_are_reported_with_the_reason_the_longest_waiting_first() -> None:
    found = counted(unscheduled("new", seconds=150), unscheduled("old", minutes=20), unscheduled("now", seconds=5))
    old, new = found.unschedulable()
    assert old == "pod shop/old has been unscheduled for 20 min: Unschedulable: 0/9 nodes are available"
    assert new.startswith("pod shop/new has been unscheduled for 150 s: ")


def test_a_pod_without_a_scheduler_is_reported_but_not_a_gated_or_terminating_one() -> None:
    terminating = pod("terminating")
    terminating["metadata"]["deletionTimestamp"] = at()
    [problem] = counted(pod(), terminating, unscheduled("gated", "SchedulingGated", minutes=20)).unschedulable()
    assert problem == "pod shop/web has been unscheduled for 30 min: Pending: no scheduler has processed it"


def test_ended_pods_and_pods_with_host_network_are_not_counted() -> None:
    pods = counted(
        pod(node="a", phase="Running"), pod(node="a", phase="Running", hostNetwork=True), pod(node="a", phase="Failed")
    )
    nodes = [node("a", "2", "10.244.0.0/30")]
    assert [str(use) for use in findings.node_pods(nodes, pods)] == ["node a: pods: 2 of 2 in use, 100 %"]
    assert [str(use) for use in findings.node_addresses(nodes, pods)] == [
        "node a: pod addresses of 10.244.0.0/30: 1 of 2 in use, 50 %"
    ]


def test_node_ranges_are_counted_within_the_clusters_range() -> None:
    nodes = [node("a", "110", "10.244.0.0/24"), node("b", "110", "10.244.1.0/24"), node("c", "110", "10.9.0.0/24")]
    [use] = findings.node_ranges(nodes, [ipaddress.ip_network("10.244.0.0/22")])
    assert str(use) == "cluster CIDR 10.244.0.0/22: ranges for nodes: 2 of 4 in use, 50 %"


def test_service_addresses_of_a_family_are_counted_over_all_its_ranges() -> None:
    def service(*addresses: str) -> dict[str, Any]:
        return {"spec": {"clusterIPs": list(addresses)}}

    ranges = [ipaddress.ip_network(cidr) for cidr in ("10.96.0.0/30", "10.97.0.0/30", "fd00::/126")]
    services = [service("10.96.0.1", "fd00::1"), service("10.97.0.1"), service("None"), {"spec": {}}]
    four, six = findings.service_addresses(services, ranges)
    assert str(four) == "Service addresses of 10.96.0.0/30, 10.97.0.0/30: 2 of 4 in use, 50 %"
    assert (six.used, six.of) == (1, 3)


def test_every_resource_of_a_quota_is_reported_the_highest_use_first() -> None:
    status = {
        "hard": {"requests.cpu": "2", "pods": "10", "secrets": "0"},
        "used": {"requests.cpu": "1900m", "pods": "10", "secrets": "0"},
    }
    quotas = [{"metadata": {"namespace": "shop", "name": "team"}, "status": status}]
    assert findings.over(findings.quota_uses(quotas), 95, "QUOTA_PERCENT") == [
        "resourcequota shop/team: pods: 10 of 10 in use, 100 % (QUOTA_PERCENT is 95)",
        "resourcequota shop/team: requests.cpu: 1900m of 2 in use, 95 % (QUOTA_PERCENT is 95)",
    ]


def test_a_terminating_range_is_ignored() -> None:
    in_use = {"metadata": {"name": "a"}, "spec": {"cidrs": ["10.96.0.0/16"]}}
    terminating = {"metadata": {"name": "b", "deletionTimestamp": at()}, "spec": {"cidrs": ["10.97.0.0/16"]}}
    assert [str(one) for one in findings.ranges_of([in_use, terminating])] == ["10.96.0.0/16"]
