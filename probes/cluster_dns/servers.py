"""The DNS servers (the Service and its DNS pods), and their problems according to the API."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]

SETTLED = 30.0
"""Seconds that a pod must be ready before its absence from the Service's endpoints is a finding."""


@dataclass(frozen=True)
class Server:
    """One address that answers queries."""

    name: str
    """As in errors: `DNS pod kube-system/coredns-1 (10.244.0.5, node a)`."""
    address: str
    ports: tuple[tuple[str, int], ...]
    """`("UDP", 53), ("TCP", 53)`: the ports of the Service."""
    is_service: bool = False


def of_service(service: Json) -> Server:
    """The Service itself, which all pods use. Raises ValueError if it has no address."""
    name = _full_name(service)
    addresses = addresses_of(service)
    if not addresses:
        raise ValueError(f"Service {name} has no cluster IP, so pods cannot send queries to it")
    ports = tuple((port.get("protocol", "TCP"), port["port"]) for port in _dns_ports(service["spec"]["ports"]))
    return Server(f"Service {name} ({addresses[0]})", addresses[0], ports, is_service=True)


def addresses_of(service: Json) -> list[str]:
    """A Service's cluster IPs; none if it is headless."""
    spec = service["spec"]
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP", "")] if ip not in ("", "None")]


def endpoint_servers(service: Json, slices: list[Json]) -> list[Server]:
    """The Service's ready endpoints, each once."""
    found: dict[str, Server] = {}
    for endpoint_slice, endpoint in _endpoints(slices):
        if not _is_ready(endpoint):
            continue
        target = endpoint.get("targetRef") or {}
        what = f"DNS pod {_namespace(service)}/{target['name']}" if target.get("kind") == "Pod" else "DNS endpoint"
        ports = tuple(
            (port.get("protocol", "TCP"), port["port"]) for port in _dns_ports(endpoint_slice.get("ports") or [])
        )
        for address in endpoint["addresses"]:
            location = ", ".join(filter(None, [address, _node_label(endpoint.get("nodeName"))]))
            before = found.get(address)
            both = tuple(sorted({*ports, *(before.ports if before else ())}, reverse=True))
            found[address] = Server(f"{what} ({location})", address, both)
    return list(found.values())


def problems(service: Json, slices: list[Json], pods: list[Json], now: datetime, grace: float) -> list[str]:
    """Problems of endpoints and pods, from the API's objects.

    `grace`: seconds that a pod may be unready (for example in a rollout) before that is a finding.
    """
    name = _full_name(service)
    wrong = []
    if not any(_is_ready(endpoint) for _slice, endpoint in _endpoints(slices)):
        wrong.append(f"Service {name} has no ready endpoint, so no name is resolved; {_count(service, pods)}")
    if not service["spec"].get("selector"):
        return wrong
    pods_by_ip = {ip: pod for pod in pods for ip in _pod_ips(pod)}
    listed = {address for _slice, endpoint in _endpoints(slices) for address in endpoint["addresses"]}
    ready = {address for _slice, end in _endpoints(slices) if _is_ready(end) for address in end["addresses"]}
    wrong += [
        f"endpoint {address} of Service {name} is not the address of one of its pods"
        for address in sorted(ready - set(pods_by_ip))
    ]
    for pod in pods:
        wrong += _pod_problem(pod, name, listed, now, grace)
    return wrong


def _pod_problem(pod: Json, service: str, listed: set[str], now: datetime, grace: float) -> Iterator[str]:
    if pod["metadata"].get("deletionTimestamp") or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return
    node = _node_label(pod["spec"].get("nodeName")) or "unscheduled"
    what = f"DNS pod {_full_name(pod)} ({', '.join([*_pod_ips(pod)[:1], node])})"
    is_ready, since = _readiness(pod)
    seconds = (now - since).total_seconds()
    if not is_ready and seconds >= grace:
        yield f"{what} has not been ready for {seconds:.0f} s{_why(pod)}"
    if is_ready and seconds > SETTLED and listed.isdisjoint(_pod_ips(pod)):
        yield f"{what} is ready but not among the endpoints of Service {service}"


def _readiness(pod: Json) -> tuple[bool, datetime]:
    """Whether the pod is ready, and since when."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready: Json = next((one for one in conditions if one["type"] == "Ready"), {})
    since = ready.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"]
    return ready.get("status") == "True", datetime.fromisoformat(since)


def _why(pod: Json) -> str:
    for container in pod.get("status", {}).get("containerStatuses") or []:
        state = container.get("state", {})
        waiting = state.get("waiting") or state.get("terminated") or {}
        if waiting.get("reason"):
            return f": {waiting['reason']}, {container.get('restartCount', 0)} restarts"
    return ""


def _count(service: Json, pods: list[Json]) -> str:
    selector = ",".join(f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items())
    return f"{len(pods)} pods match its selector {selector}" if selector else "it has no selector"


def _endpoints(slices: list[Json]) -> Iterator[tuple[Json, Json]]:
    for endpoint_slice in slices:
        for endpoint in endpoint_slice.get("endpoints") or []:
            yield endpoint_slice, endpoint


def _is_ready(endpoint: Json) -> bool:
    """Nil counts as ready (`discovery.k8s.io/v1`, EndpointConditions)."""
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _dns_ports(ports: list[Json]) -> list[Json]:
    """The ports for queries: a DNS Service often has one for metrics too."""
    return [port for port in ports if port.get("name", "").startswith("dns") or port.get("port") == 53]


def _pod_ips(pod: Json) -> list[str]:
    return [entry["ip"] for entry in pod.get("status", {}).get("podIPs") or []]


def _node_label(node: str | None) -> str:
    return f"node {node}" if node else ""


def _namespace(body: Json) -> str:
    return str(body["metadata"]["namespace"])


def _full_name(body: Json) -> str:
    return f"{_namespace(body)}/{body['metadata']['name']}"
