"""The rules that Services and their EndpointSlices need on a node, as kube-proxy derives them. Pure."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Backend = tuple[str, int]
"""Address and port of an endpoint."""

OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
"""kube-proxy ignores a Service with this label."""


@dataclass(frozen=True, order=True)
class Front:
    """Address, protocol and port of a Service; node ports have no address."""

    address: str
    protocol: str
    """`tcp`, `udp` or `sctp`."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host or 'node port '}{':' if host else ''}{self.port}/{self.protocol}"


@dataclass(frozen=True)
class Wanted:
    """One Service port's front, and the endpoints that it must forward to."""

    service: str
    """`namespace/name`."""
    front: Front
    backends: frozenset[Backend]
    some_suffice: bool = False
    """Whether kube-proxy may leave out endpoints (topology hints), as long as one remains."""
    names: dict[Backend, str] = field(default_factory=dict, compare=False)
    """The endpoints' pods."""


@dataclass(frozen=True)
class _Endpoint:
    backend: Backend
    ready: bool
    serving: bool
    terminating: bool
    node: str
    hinted: bool
    pod: str


def read(services: list[Json], slices: list[Json], node: str, family: int) -> list[Wanted]:
    """The rules that this node needs, in address family 4 or 6."""
    by_service: dict[tuple[str, str], list[Json]] = {}
    for endpoint_slice in slices:
        owner = (endpoint_slice["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        if endpoint_slice.get("addressType") == f"IPv{family}":
            by_service.setdefault((endpoint_slice["metadata"]["namespace"], owner), []).append(endpoint_slice)
    return [
        wanted
        for service in services
        if _is_proxied(service)
        for wanted in _of_service(
            service, by_service.get((service["metadata"]["namespace"], service["metadata"]["name"]), []), node, family
        )
    ]


def _is_proxied(service: Json) -> bool:
    spec = service["spec"]
    ignored = OTHER_PROXY in (service["metadata"].get("labels") or {})
    return spec.get("type") != "ExternalName" and spec.get("clusterIP") not in (None, "", "None") and not ignored


def _of_service(service: Json, slices: list[Json], node: str, family: int) -> Iterator[Wanted]:
    spec = service["spec"]
    name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    for port in spec.get("ports") or []:
        protocol = port.get("protocol", "TCP").lower()
        endpoints = list(_endpoints(slices, port.get("name") or "", port.get("protocol", "TCP")))
        inside = _chosen(endpoints, node if spec.get("internalTrafficPolicy") == "Local" else "")
        outside = _chosen(endpoints, node if spec.get("externalTrafficPolicy") == "Local" else "")
        for addresses, chosen in ((_inside(spec), inside), (_outside(service), outside)):
            for address in addresses:
                if ipaddress.ip_address(address).version == family:
                    yield _wanted(name, Front(address, protocol, port["port"]), chosen)
        if port.get("nodePort"):
            yield _wanted(name, Front("", protocol, port["nodePort"]), outside)


def _wanted(service: str, front: Front, endpoints: list[_Endpoint]) -> Wanted:
    return Wanted(
        service,
        front,
        frozenset(one.backend for one in endpoints),
        some_suffice=bool(endpoints) and all(one.hinted for one in endpoints),
        names={one.backend: one.pod for one in endpoints},
    )


def _inside(spec: Json) -> list[str]:
    return [address for address in spec.get("clusterIPs") or [spec["clusterIP"]] if address]


def _outside(service: Json) -> list[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    balanced = [one["ip"] for one in ingress if one.get("ip") and one.get("ipMode", "VIP") == "VIP"]
    return [*(service["spec"].get("externalIPs") or []), *balanced]


def _chosen(endpoints: list[_Endpoint], only_on: str) -> list[_Endpoint]:
    """The endpoints that kube-proxy uses: the ready ones, or without any the serving ones."""
    candidates = [one for one in endpoints if not only_on or one.node == only_on]
    return [one for one in candidates if one.ready] or [one for one in candidates if one.serving and one.terminating]


def _endpoints(slices: list[Json], port_name: str, protocol: str) -> Iterator[_Endpoint]:
    known: set[Backend] = set()
    for endpoint_slice in slices:
        ports = [
            one["port"]
            for one in endpoint_slice.get("ports") or []
            if (one.get("name") or "") == port_name and one.get("protocol", "TCP") == protocol and one.get("port")
        ]
        for endpoint in endpoint_slice.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            for port in ports:
                backend = (endpoint["addresses"][0], port)  # kube-proxy uses only the first
                if backend in known:
                    continue
                known.add(backend)
                yield _Endpoint(
                    backend,
                    ready=conditions.get("ready") is not False,
                    serving=conditions.get("serving") is not False,
                    terminating=conditions.get("terminating") is True,
                    node=endpoint.get("nodeName") or "",
                    hinted=bool(endpoint.get("hints")),
                    pod=(endpoint.get("targetRef") or {}).get("name", ""),
                )
