"""Resolves names inside and outside of the cluster and addresses (reverse), by the DNS Service and by every DNS pod.

Parameters: INSIDE_NAMES, OUTSIDE_NAMES, CLUSTER_DOMAIN, DNS_NAMESPACE, DNS_SERVICE, QUERY_TIMEOUT, TRIES,
SLOW_MS, UNREADY_GRACE (README.md).
"""

import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from kubeprobe_client import CheckFailed, give_up, main, measure, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._parameters import number, text, words
from probes.cluster_dns import dns_query, servers
from probes.cluster_dns.dns_query import Query
from probes.cluster_dns.querying import Answer, QueryLimits, problems, query_all, resolve_as_pods_do
from probes.cluster_dns.servers import Json, Server

PAGE_SIZE = 100


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds unless named otherwise."""

    namespace: str
    service: str
    domain: str
    named: tuple[Query, ...]
    limits: QueryLimits
    unready_grace: float

    @classmethod
    def from_environment(cls) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        domain = text("CLUSTER_DOMAIN", "cluster.local").strip(".").lower()
        try:
            named = [dns_query.inside(word, domain) for word in words("INSIDE_NAMES")]
        except ValueError as error:
            give_up(f"parameter INSIDE_NAMES: {error}")
        try:
            named += [dns_query.outside(word) for word in words("OUTSIDE_NAMES")]
        except ValueError as error:
            give_up(f"parameter OUTSIDE_NAMES: {error}")
        limits = QueryLimits(number("QUERY_TIMEOUT", 2), max(round(number("TRIES", 2)), 1), number("SLOW_MS", 1000))
        return cls(
            namespace=text("DNS_NAMESPACE", "kube-system"),
            service=text("DNS_SERVICE", "kube-dns"),
            domain=domain,
            named=tuple(named),
            limits=limits,
            unready_grace=number("UNREADY_GRACE", 60),
        )


@dataclass(frozen=True)
class DnsObjects:
    """The API's objects of the cluster's DNS."""

    dns: Json
    api_service: Json
    slices: list[Json]
    pods: list[Json]


def find(api: Api, settings: Settings) -> DnsObjects:
    """The DNS Service, its endpoints and pods, and the Service `kubernetes`, whose name every cluster has."""
    namespace, name = settings.namespace, settings.service
    try:
        service = api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise CheckFailed(f"Service {namespace}/{name} does not exist, so pods cannot resolve names") from error
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    selector = ",".join(f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items())
    pods = f"/api/v1/namespaces/{namespace}/pods"
    return DnsObjects(
        dns=service,
        api_service=api.get("/api/v1/namespaces/default/services/kubernetes"),
        slices=_all(api, slices, f"kubernetes.io/service-name={name}"),
        pods=_all(api, pods, selector) if selector else [],
    )


def _all(api: Api, path: str, selector: str) -> list[Json]:
    return [item for page in api.pages(path, PAGE_SIZE, labelSelector=selector) for item in page]


def build_queries(found: DnsObjects, settings: Settings) -> list[Query]:
    """Queries for two Services that always exist, by name and reverse, and those of the parameters."""
    queries: list[Query] = []
    for service in (found.api_service, found.dns):
        meta = service["metadata"]
        addresses = servers.addresses_of(service)
        queries += dns_query.of_service(meta["name"], meta["namespace"], addresses, settings.domain)
    return list(dict.fromkeys([*queries, *settings.named]))


def resolve_short_name(found: DnsObjects, settings: Settings) -> None:
    """Resolve `kubernetes.default` as every program in a pod does, by the pod's resolv.conf and search path."""
    expected = {ip for ip in servers.addresses_of(found.api_service) if dns_query.record_of(ip) == "A"}
    if not expected:
        return
    started = time.perf_counter()
    addresses, problem = resolve_as_pods_do("kubernetes.default", settings.limits.timeout * settings.limits.tries * 2)
    measure("search_path_ms", round((time.perf_counter() - started) * 1000, 1))
    if problem:
        raise CheckFailed(f"kubernetes.default by this pod's resolv.conf: {problem}")
    if addresses != expected:
        actual, wanted = ", ".join(sorted(addresses)), ", ".join(sorted(expected))
        raise CheckFailed(f"kubernetes.default by this pod's resolv.conf: wrong answer {actual}, expected {wanted}")


def record_measurements(answers: list[Answer], pods: list[Server]) -> None:
    """Measure counts, and times of right answers."""
    measure("dns_pods", len(pods))
    measure("queries", len(answers))
    measure("failed", sum(bool(answer.problem) for answer in answers))
    measure("retries", sum(answer.tries - 1 for answer in answers))
    right = [answer for answer in answers if not answer.problem]
    for name, of_service in (("service", True), ("pods", False)):
        times = [answer.ms for answer in right if answer.server.is_service is of_service]
        if times:
            measure(f"{name}_median_ms", round(statistics.median(times), 2))
            measure(f"{name}_slowest_ms", round(max(times), 2))
    for kind in ("inside", "outside", "reverse"):
        times = [answer.ms for answer in right if answer.query.kind == kind]
        if times:
            measure(f"{kind}_slowest_ms", round(max(times), 2))


def _query(targets: list[Server], queries: list[Query], settings: Settings) -> list[Answer]:
    answers = query_all(targets, queries, settings.limits)
    for answer in answers:
        line = f"{answer.server.name}: {answer.query} over {answer.protocol}: {answer.problem or 'right'}"
        sys.stdout.write(f"{line}, {answer.ms:.1f} ms, try {answer.tries}\n")
    return answers


def _fail_if(wrong: list[str]) -> None:
    if wrong:
        raise CheckFailed(*wrong)


def _service(service: Json) -> Server:
    try:
        return servers.of_service(service)
    except ValueError as error:
        raise CheckFailed(str(error)) from error


@main
def probe() -> None:
    """Find the servers, then query all of them; each failed step names the servers with problems."""
    settings = Settings.from_environment()
    with connect() as api:
        try:
            with step("find"):
                found = find(api, settings)
                service = _service(found.dns)
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
    pods = servers.endpoint_servers(found.dns, found.slices)
    queries = build_queries(found, settings)
    answers: list[Answer] = []
    # After a failed step the next one still runs: together they locate the fault.
    with suppress(CheckFailed), step("service"):
        answers += _query([service], queries, settings)
        _fail_if(problems(answers))
    with suppress(CheckFailed), step("pods"):
        pod_answers = _query(pods, queries, settings)
        answers += pod_answers
        _fail_if(problems(pod_answers))
    with suppress(CheckFailed), step("endpoints"):
        now = datetime.now(UTC)
        _fail_if(servers.problems(found.dns, found.slices, found.pods, now, settings.unready_grace))
    with suppress(CheckFailed), step("search path"):
        resolve_short_name(found, settings)
    record_measurements(answers, pods)
