"""Nearly exhausted limits, as text. Pure: `probe` lists the objects."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from probes._quantities import quantity

Json = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Use:
    """The use of a limited resource."""

    what: str
    """`node worker-1: pods`."""
    used: float
    of: float
    shown: str = ""
    """Used and limit as quantities, where plain numbers are less clear: `1900m of 2`."""

    @property
    def percent(self) -> float:
        """The use in percent; 100 or more means exhausted."""
        return self.used / self.of * 100

    def __str__(self) -> str:
        return f"{self.what}: {self.shown or f'{self.used:g} of {self.of:g}'} in use, {self.percent:.3g} %"


def over(uses: Iterable[Use], percent: float, parameter: str) -> list[str]:
    """The uses at or above the threshold, the highest first."""
    full = sorted((use for use in uses if use.percent >= percent), key=lambda use: (-use.percent, use.what))
    return [f"{use} ({parameter} is {percent:g})" for use in full]


@dataclass
class Pods:
    """Counts of all pods, without the pods themselves, as there may be very many."""

    on_node: dict[str, int] = field(default_factory=dict)
    """Pods that have not ended, by node."""
    with_address: dict[str, int] = field(default_factory=dict)
    """Those of them with an address of the node's range, by node: all except pods with hostNetwork."""
    waiting: list[tuple[float, str]] = field(default_factory=list)
    """Seconds unscheduled, and the pod with the reason."""
    total: int = 0

    def count(self, pod: Json, now: datetime, seconds: float) -> None:
        """Count a pod; one that has been unscheduled for `seconds` is a finding."""
        self.total += 1
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return
        node = pod["spec"].get("nodeName")
        if node:
            self.on_node[node] = self.on_node.get(node, 0) + 1
            if not pod["spec"].get("hostNetwork"):
                self.with_address[node] = self.with_address.get(node, 0) + 1
            return
        if "deletionTimestamp" not in pod["metadata"]:
            waited, why = why_waiting(pod, now)
            if why and waited >= seconds:
                self.waiting.append((waited, why))

    def unschedulable(self) -> list[str]:
        """The unschedulable pods, the longest waiting first."""
        return [why for _waited, why in sorted(self.waiting, key=lambda pair: (-pair[0], pair[1]))]


def why_waiting(pod: Json, now: datetime) -> tuple[float, str]:
    """How long a pod has been unscheduled, and the scheduler's reason; no reason if scheduling gates hold it."""
    conditions: list[Json] = (pod.get("status") or {}).get("conditions") or []
    scheduled: Json = next((one for one in conditions if one["type"] == "PodScheduled"), {})
    if scheduled.get("reason") == "SchedulingGated":
        return 0, ""
    since = scheduled.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"]
    waited = (now - datetime.fromisoformat(since)).total_seconds()
    reason = scheduled.get("reason", "Pending")
    message = scheduled.get("message") or "no scheduler has processed it"
    return waited, f"pod {_name(pod)} has been unscheduled for {_duration(waited)}: {reason}: {message}"


def node_pods(nodes: Iterable[Json], pods: Pods) -> Iterator[Use]:
    """Pods per node and the kubelet's limit."""
    for node in nodes:
        limit = ((node.get("status") or {}).get("allocatable") or {}).get("pods")
        if limit and (most := float(quantity(str(limit)))):
            name = node["metadata"]["name"]
            yield Use(f"node {name}: pods", pods.on_node.get(name, 0), most)


def node_addresses(nodes: Iterable[Json], pods: Pods) -> Iterator[Use]:
    """Pod addresses per node and the size of the node's podCIDR, if Kubernetes assigns one."""
    for node in nodes:
        name = node["metadata"]["name"]
        for cidr in node["spec"].get("podCIDRs") or []:
            yield Use(f"node {name}: pod addresses of {cidr}", pods.with_address.get(name, 0), usable(_network(cidr)))


def node_ranges(nodes: Iterable[Json], cluster: Iterable[Network]) -> Iterator[Use]:
    """Assigned podCIDRs and their number in the cluster's range."""
    assigned = [_network(cidr) for node in nodes for cidr in node["spec"].get("podCIDRs") or []]
    for network in cluster:
        inside = [one for one in assigned if one.version == network.version and one.overlaps(network)]
        if inside:
            size = max(one.prefixlen for one in inside) - network.prefixlen
            yield Use(f"cluster CIDR {network}: ranges for nodes", len(inside), 2**size)


def service_addresses(services: Iterable[Json], ranges: Iterable[Network]) -> Iterator[Use]:
    """Service addresses in use, per family over all of its ranges: a new Service may use any of them."""
    networks = list(ranges)
    used = {
        ipaddress.ip_address(address)
        for service in services
        for address in service["spec"].get("clusterIPs") or []
        if address != "None"
    }
    for version in sorted({network.version for network in networks}):
        family = [network for network in networks if network.version == version]
        inside = sum(any(address in network for network in family) for address in used if address.version == version)
        names = ", ".join(str(network) for network in family)
        yield Use(f"Service addresses of {names}", inside, sum(map(usable, family)))


def quota_uses(quotas: Iterable[Json]) -> Iterator[Use]:
    """Every resource of every ResourceQuota; limits of zero are intended and left out."""
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        for resource, limit in hard.items():
            most = float(quantity(limit))
            if most > 0:
                now = used.get(resource, "0")
                what = f"resourcequota {_name(quota)}: {resource}"
                yield Use(what, float(quantity(now)), most, f"{now} of {limit}")


def ranges_of(cidrs: Iterable[Json]) -> list[Network]:
    """The ranges of ServiceCIDR objects in use."""
    return [
        _network(cidr)
        for one in cidrs
        if "deletionTimestamp" not in one["metadata"]
        for cidr in (one.get("spec") or {}).get("cidrs") or []
    ]


def usable(network: Network) -> float:
    """The number of assignable addresses: without the network address, and with IPv4 without the broadcast address."""
    return max(float(network.num_addresses) - (2 if network.version == 4 else 1), 1)


def _network(cidr: str) -> Network:
    return ipaddress.ip_network(cidr, strict=False)


def _name(found: Json) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
