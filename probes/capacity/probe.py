"""Finds nearly exhausted pods per node, pod and Service addresses and quotas; and unschedulable pods.

Parameters: CHECKS, NODE_PODS_PERCENT, POD_ADDRESSES_PERCENT, SERVICE_ADDRESSES_PERCENT, QUOTA_PERCENT,
PENDING_SECONDS, CLUSTER_CIDR, SERVICE_CIDR, EXCLUDE (README.md).
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from kubeprobe_client import give_up, main, measure

from probes._api import Api, ApiError, connect
from probes._checks import Checks
from probes._parameters import number, words
from probes.capacity import findings
from probes.capacity.findings import Network, Use

Json = dict[str, Any]

PAGE_SIZE = 250
"""Objects per page, a compromise between memory and number of requests."""
SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


def check_pods(api: Api) -> list[str]:
    """Unschedulable pods, nodes near their pod limit, and nearly exhausted pod address ranges."""
    now, grace, excluded = datetime.now(UTC), number("PENDING_SECONDS", 120), words("EXCLUDE")
    pods = findings.Pods()
    for pod in _list(api, "/api/v1/pods"):
        pods.count(pod, now, float("inf") if _matches(pod, excluded) else grace)
    nodes = [_needed_of_node(node) for node in _list(api, "/api/v1/nodes")]
    measure("pods_seen", pods.total)
    measure("nodes_seen", len(nodes))
    measure("pods_unschedulable", len(pods.waiting))
    addresses = [*findings.node_addresses(nodes, pods), *findings.node_ranges(nodes, _networks("CLUSTER_CIDR"))]
    return [
        *pods.unschedulable(),
        *_over(findings.node_pods(nodes, pods), "NODE_PODS_PERCENT"),
        *_over(addresses, "POD_ADDRESSES_PERCENT"),
    ]


def check_services(api: Api) -> list[str]:
    """Nearly exhausted Service addresses."""
    ranges = _networks("SERVICE_CIDR") or findings.ranges_of(_service_cidrs(api))
    uses = list(findings.service_addresses(_list(api, "/api/v1/services"), ranges))
    measure("service_ranges_seen", len(ranges))
    return _over(uses, "SERVICE_ADDRESSES_PERCENT")


def check_quotas(api: Api) -> list[str]:
    """Nearly exhausted quotas."""
    excluded = words("EXCLUDE")
    listed = _list(api, "/api/v1/resourcequotas")
    quotas = [_needed_of_quota(quota) for quota in listed if not _matches(quota, excluded)]
    measure("quotas_seen", len(quotas))
    return _over(findings.quota_uses(quotas), "QUOTA_PERCENT")


CHECKS: dict[str, Callable[[Api], list[str]]] = {
    "pods": check_pods,
    "services": check_services,
    "quotas": check_quotas,
}


def _over(uses: Iterable[Use], parameter: str) -> list[str]:
    """Uses at the threshold; the highest use is also measured, for its trend."""
    found = list(uses)
    if found:
        name = parameter.lower().replace("_percent", "_used_percent")
        measure(name, round(max(use.percent for use in found), 3))
    return findings.over(found, number(parameter, 90), parameter)


def _service_cidrs(api: Api) -> list[Json]:
    """ServiceCIDR objects; none before Kubernetes 1.33, where SERVICE_CIDR must be set."""
    try:
        return list(_list(api, SERVICE_CIDRS))
    except ApiError as error:
        if error.status != 404:
            raise
        return []


def _networks(parameter: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(word) for word in words(parameter)]
    except ValueError as error:
        give_up(f"parameter {parameter}: {error}; expected CIDRs such as 10.96.0.0/16")


def _matches(found: Json, patterns: list[str]) -> bool:
    name = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _list(api: Api, path: str) -> Iterator[Json]:
    for page in api.pages(path, PAGE_SIZE):
        yield from page


def _needed_of_node(node: Json) -> Json:
    """The required fields only: images and managed fields of thousands of nodes need too much memory."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return {
        "metadata": {"name": node["metadata"]["name"]},
        "spec": {"podCIDRs": node["spec"].get("podCIDRs")},
        "status": {"allocatable": {"pods": allocatable.get("pods")}},
    }


def _needed_of_quota(quota: Json) -> Json:
    metadata, status = quota["metadata"], quota.get("status") or {}
    return {
        "metadata": {"namespace": metadata["namespace"], "name": metadata["name"]},
        "status": {"hard": status.get("hard"), "used": status.get("used")},
    }


@main
def probe() -> None:
    """Run every check, then report all findings."""
    selected = words("CHECKS") or list(CHECKS)
    unknown = [name for name in selected if name not in CHECKS]
    if unknown:
        give_up(f"parameter CHECKS: {unknown[0]!r} is not a check: expected {', '.join(CHECKS)}")
    checks = Checks()
    with connect() as api:
        for name in selected:
            with checks.check(name):
                checks.problems += CHECKS[name](api)
    checks.report()
