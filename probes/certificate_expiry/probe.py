"""Finds certificates that expire soon: of servers, kubelets, Secrets, webhooks, aggregated APIs and cert-manager.

Parameters: WARN_DAYS, ENDPOINTS, NAMESPACES, LOOK_AT (README.md).
"""

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from kubeprobe_client import give_up, main, measure

from probes._api import Api, ApiError, connect
from probes._checks import Checks
from probes._parameters import number, text, words
from probes.certificate_expiry import authorities, certmanager
from probes.certificate_expiry.certificates import Finding, read_der, sorted_problems
from probes.certificate_expiry.endpoints import EndpointError, parse, serving_certificate
from probes.certificate_expiry.tls_secrets import name_of, read_secret

Json = dict[str, Any]
Server = tuple[str, str, int]
"""Name in messages, host, and port."""

PAGE_SIZE = 100
"""Secrets per page, a compromise between memory and number of requests."""
AT_ONCE = 16
"""Concurrent handshakes: an unreachable node takes the whole time-out."""
KUBELET_PORT = 10250
EVERYTHING = ("kubelets", "webhooks", "aggregation", "cert-manager")


def inspect_servers(servers: Iterable[Server]) -> list[Finding]:
    """The serving certificate of each server, or why there is none."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(_inspect_server, servers))


def _inspect_server(server: Server) -> Finding:
    source, host, port = server
    try:
        return read_der(source, serving_certificate(host, port))
    except EndpointError as error:
        return Finding(source, unreadable=str(error))


def kubelets(api: Api) -> Iterator[Server]:
    """The kubelet of each ready node, at the address that the API server uses; raises ApiError.

    Nodes that are down or being removed are left out: that is not a problem of a certificate.
    """
    for page in api.pages("/api/v1/nodes", PAGE_SIZE):
        for node in page:
            status = node.get("status") or {}
            if not _is_ready(status):
                continue
            addresses = {one["type"]: one["address"] for one in status.get("addresses") or []}
            host = addresses.get("InternalIP") or addresses.get("Hostname")
            port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or KUBELET_PORT
            if host:
                yield f"kubelet of node {node['metadata']['name']} ({host}:{port})", host, port


def _is_ready(status: Json) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])


def inspect_webhooks(api: Api) -> list[Finding]:
    """The CAs of admission and conversion webhooks; raises ApiError."""
    found: list[Finding] = []
    for kind in ("validating", "mutating"):
        path = f"{authorities.WEBHOOKS}/{kind}webhookconfigurations"
        found += authorities.of_webhooks(kind, _all(api, path))
    return [*found, *authorities.of_conversions(_all(api, authorities.DEFINITIONS, 20))]  # they are large


def inspect_aggregation(api: Api) -> list[Finding]:
    """The CAs of aggregated API servers, and those that they must trust; raises ApiError."""
    found = list(authorities.of_aggregated(_all(api, authorities.SERVICES)))
    try:
        return [*found, *authorities.of_authentication(api.get(authorities.AUTHENTICATION))]
    except ApiError as error:
        if error.status != 404:
            raise
        return found


def inspect_cert_manager(api: Api, namespaces: list[str], now: datetime, warn_days: float) -> dict[str, str]:
    """The problem of each cert-manager Certificate, empty if there is none; raises ApiError."""
    return {
        certmanager.name_of(body): _certificate_problem(body, now, warn_days)
        for scope in [f"/namespaces/{name}" for name in namespaces] or [""]
        for body in _all(api, f"{certmanager.CERTIFICATES}{scope}/certificates")
    }


def _certificate_problem(body: Json, now: datetime, warn_days: float) -> str:
    try:
        return certmanager.problem(body, now, warn_days)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # its CRD may hold anything
        return f"certificate {certmanager.name_of(body)}: its status cannot be parsed: {error}"


def _all(api: Api, path: str, size: int = PAGE_SIZE) -> Iterator[Json]:
    """All objects of a collection; none if the cluster does not know their kind. Raises ApiError."""
    try:
        for page in api.pages(path, size):
            yield from page
    except ApiError as error:
        if error.status != 404:
            raise


def inspect_secrets(api: Api, namespaces: list[str]) -> dict[str, list[Finding]]:
    """The certificates of every TLS Secret by `namespace/name`, in these namespaces or in all."""
    found: dict[str, list[Finding]] = {}
    for path in [f"/api/v1/namespaces/{name}/secrets" for name in namespaces] or ["/api/v1/secrets"]:
        for page in api.pages(path, PAGE_SIZE, fieldSelector="type=kubernetes.io/tls"):
            found |= {name_of(secret): read_secret(secret) for secret in page}
    return found


def _endpoints(api: Api) -> list[Server]:
    """The API server and the servers in ENDPOINTS."""
    try:
        endpoints = [parse(endpoint) for endpoint in words("ENDPOINTS")]
    except ValueError as error:
        give_up(f"parameter ENDPOINTS: {error}")
    if api.access.tls is None:
        sys.stdout.write(f"API server {api.access.server}: skipped, it uses plain http\n")
        measure("endpoints_skipped", 1)
    else:
        endpoints.insert(0, (api.access.host, api.access.port))
    return [(f"endpoint {host}:{port}", host, port) for host, port in endpoints]


def _wanted() -> list[str]:
    """The checks in LOOK_AT."""
    wanted = text("LOOK_AT", " ".join(EVERYTHING)).replace(",", " ").split()
    unknown = [word for word in wanted if word not in (*EVERYTHING, "none")]
    if unknown:
        give_up(f"parameter LOOK_AT: {unknown[0]!r}: expected some of {', '.join(EVERYTHING)}, or none")
    return wanted


class Inspection(Checks):
    """All findings of one run, as of its start."""

    def __init__(self, api: Api, now: datetime, warn_days: float) -> None:
        super().__init__()
        self._api = api
        self._now = now
        self._warn_days = warn_days
        self._namespaces = words("NAMESPACES")
        self.findings: list[Finding] = []
        self.other: list[str] = []
        self.renewed: set[str] = set()
        """cert-manager Certificates, which are checked by their renewal."""

    def servers(self, name: str, servers: list[Server]) -> None:
        """Check the certificates of servers."""
        self.findings += inspect_servers(servers)
        measure(f"{name}_checked", len(servers))

    def secrets(self) -> None:
        """Check TLS Secrets."""
        found = inspect_secrets(self._api, self._namespaces)
        self.findings += [finding for chain in found.values() for finding in chain]
        measure("secrets_checked", len(found))

    def check_selected(self, wanted: list[str]) -> None:
        """Run the checks in LOOK_AT."""
        if "kubelets" in wanted and self._api.access.tls is not None:
            with self.check("kubelets"):
                self.servers("kubelets", list(kubelets(self._api)))
        for name, inspect in (("webhooks", inspect_webhooks), ("aggregation", inspect_aggregation)):
            if name in wanted:
                with self.check(name):
                    found = inspect(self._api)
                    self.findings += found
                    measure(f"{name}_checked", len(found))
        if "cert-manager" in wanted:
            with self.check("cert-manager"):
                self.certificates(inspect_cert_manager(self._api, self._namespaces, self._now, self._warn_days))

    def certificates(self, problems: dict[str, str]) -> None:
        """Add the problems of cert-manager Certificates."""
        self.other += sorted(filter(None, problems.values()))
        self.renewed |= problems.keys()
        measure("cert_manager_certificates_checked", len(problems))

    def collect(self) -> list[str]:
        """Collect the problems, the most urgent first."""
        days = [left for finding in self.findings if (left := finding.days_left(self._now)) is not None]
        measure("certificates_checked", len(days))
        if days:
            measure("days_to_first_expiry", round(min(days), 2))
        self.problems = sorted_problems(self.findings, self._now, self._warn_days, self.renewed) + self.other
        return self.problems


@main
def probe() -> None:
    """Check all certificates, then report every finding."""
    warn_days, wanted = number("WARN_DAYS", 30), _wanted()
    with connect() as api:
        inspection = Inspection(api, datetime.now(UTC), warn_days)
        endpoints = _endpoints(api)
        with inspection.check("endpoints"):
            inspection.servers("endpoints", endpoints)
        with inspection.check("secrets"):
            inspection.secrets()
        inspection.check_selected(wanted)
    inspection.collect()
    inspection.report()
