"""Finds components outside the supported version skew, and deprecated API versions that are still requested.

Parameters: CHECKS, COMPONENTS_NAMESPACE, KUBE_PROXY_SELECTOR, CONTROL_PLANE_SELECTOR, IGNORE_APIS (README.md).
"""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from kubeprobe_client import give_up, main, measure

from probes._api import Api, ApiError, PermissionMissing, connect
from probes._checks import Checks
from probes._parameters import text, words
from probes.version_skew import deprecated, skew
from probes.version_skew.skew import Component

Json = dict[str, Any]

PAGE_SIZE = 250
"""Objects per page."""
ALWAYS_REQUESTED = "v1/endpoints v1/componentstatuses"
"""Deprecated without a planned removal; the control plane itself requests Endpoints."""


def api_servers(api: Api) -> Iterator[Api]:
    """Every API server, by its own address; only the configured one if no other answers."""
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    slices = api.get(path, labelSelector="kubernetes.io/service-name=kubernetes").get("items") or []
    answered = 0
    for host, port in _endpoints(slices):
        access = dataclasses.replace(api.access, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")
        with Api(access) as server:
            try:
                server.get("/version")
            except PermissionMissing:
                raise
            except ApiError as error:  # its certificate may not name its address
                sys.stdout.write(f"API server {host}:{port} cannot be queried at its own address: {error}\n")
                continue
            answered += 1
            yield server
    if not answered:
        yield api


def _endpoints(slices: list[Json]) -> Iterator[tuple[str, int]]:
    for one in slices:
        ports = [port["port"] for port in one.get("ports") or [] if port.get("name") == "https"]
        for endpoint in one.get("endpoints") or []:
            for address in endpoint.get("addresses") or [] if ports else []:
                yield address, ports[0]


def kubelets(api: Api) -> Iterator[Component]:
    """The kubelet of every node."""
    for page in api.pages("/api/v1/nodes", PAGE_SIZE):
        for node in page:
            version = ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")
            yield Component(skew.KUBELET, version, f"node {node['metadata']['name']}")


def components_in_pods(api: Api, selector: str, names: tuple[str, ...]) -> Iterator[Component]:
    """The components in pods with these labels; their version is the tag of their image."""
    path = f"/api/v1/namespaces/{text('COMPONENTS_NAMESPACE', 'kube-system')}/pods"
    for page in api.pages(path, PAGE_SIZE, labelSelector=selector):
        for pod in page:
            node = pod["spec"].get("nodeName")
            for container in pod["spec"]["containers"] if node else []:
                name = container["name"]
                if name in names:
                    yield Component(name, skew.version_in_image(container["image"]), f"node {node}")


def outside_skew(api: Api) -> list[str]:
    """The components outside the supported skew."""
    servers = []
    for server in api_servers(api):
        location = f"{server.access.host}:{server.access.port}"
        servers.append(Component(skew.APISERVER, server.get("/version")["gitVersion"], location))
    nodes = list(kubelets(api))
    proxies = list(components_in_pods(api, text("KUBE_PROXY_SELECTOR", "k8s-app=kube-proxy"), (skew.KUBE_PROXY,)))
    controllers = list(components_in_pods(api, text("CONTROL_PLANE_SELECTOR", "tier=control-plane"), skew.CONTROLLERS))
    for name, found in {
        "api_servers": servers,
        "kubelets": nodes,
        "kube_proxies": proxies,
        "controllers": controllers,
    }.items():
        measure(f"{name}_seen", len(found))
    components = [*servers, *nodes, *proxies, *controllers]
    measure("versions_unknown", sum(one.minor is None for one in components))
    by_node = {one.location: one for one in nodes}
    return [*skew.outside(components), *skew.apart_on_node(by_node, proxies)]


def still_requested(api: Api) -> list[str]:
    """The deprecated APIs that were requested from any API server."""
    found = {one for server in api_servers(api) for one in deprecated.requested(server.text("/metrics"))}
    measure("deprecated_apis_requested", len(found))
    return deprecated.describe(found, words("IGNORE_APIS") or ALWAYS_REQUESTED.split())


CHECKS = {"skew": outside_skew, "deprecated": still_requested}


@main
def probe() -> None:
    """Run both checks, then report every finding."""
    selected = words("CHECKS") or list(CHECKS)
    unknown = [name for name in selected if name not in CHECKS]
    if unknown:
        give_up(f"parameter CHECKS: unknown check {unknown[0]!r}; expected any of {', '.join(CHECKS)}")
    checks = Checks()
    with connect() as api:
        for name in selected:
            with checks.check(name):
                checks.problems += CHECKS[name](api)
    checks.report()
