"""Finds limits that are missing, contradictory or ineffective.

Parameters: NAMESPACE_SELECTOR, EXEMPT_NAMESPACES, REQUIRE_QUOTA, REQUIRE_LIMIT_RANGE, GRACE_MINUTES,
REQUIRE_INGRESS_LIMITS, ALLOW_ALTERED, REJECTION_WINDOW (README.md).
"""

import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from kubeprobe_client import give_up, main, measure

from probes._api import Api, ApiError, PermissionMissing, connect
from probes._checks import Checks
from probes._parameters import number, text, words
from probes.rate_limit import edges, fairness, quotas
from probes.rate_limit.quotas import Namespace, Required

Json = dict[str, Any]

FLOWCONTROL = "/apis/flowcontrol.apiserver.k8s.io/v1"
ENVOY_FILTERS = "/apis/networking.istio.io/v1alpha3/envoyfilters"
PAGE_SIZE = 200
SYSTEM = "default,kube-*,kubeprobe*,*-system,gke-*,gmp-*,tigera-*,cattle-*"
"""The namespaces of distributions, whose limits users cannot set."""
MAX_ATTEMPTS = 8
"""Attempts to reach the same API server again, as others of the cluster may answer."""


class Rejections:
    """The requests that the API server rejects while the probe runs; unknown without the permission."""

    def __init__(self, api: Api, window: float) -> None:
        self._api = api
        self._window = window
        self._began = time.monotonic()
        self._before = self._read_metrics() if window else None

    def problems(self) -> list[str]:
        """The rejections since its creation, at least over the window."""
        if self._before is None:
            return []
        time.sleep(max(self._window - (time.monotonic() - self._began), 0))
        server, before = self._before
        for _ in range(MAX_ATTEMPTS):
            found = self._read_metrics()
            if found is None:
                return []
            started, after = found
            if started == server:
                measure("requests_rejected", sum(after.values()) - sum(before.values()))
                return fairness.newly_rejected(before, after, time.monotonic() - self._began)
        sys.stdout.write("rejected requests not counted: the API server of the first request did not answer again\n")
        return []

    def _read_metrics(self) -> tuple[str, fairness.Rejected] | None:
        """Start time of the answering API server, and its rejections since then; over a new connection each time."""
        try:
            with Api(self._api.access) as api:
                metrics = api.text("/metrics")
            return fairness.started(metrics), fairness.rejected(metrics)
        except PermissionMissing as error:
            sys.stdout.write(f"rejected requests not counted: {error}\n")
            return None


def listed(api: Api, path: str, **query: str) -> list[Json]:
    """All objects of a collection; raises ApiError."""
    return [body for page in api.pages(path, PAGE_SIZE, **query) for body in page]


def check_fairness(api: Api) -> list[str]:
    """Problems of priority and fairness."""
    schemas = listed(api, f"{FLOWCONTROL}/flowschemas")
    levels = listed(api, f"{FLOWCONTROL}/prioritylevelconfigurations")
    measure("flow_schemas", len(schemas))
    measure("priority_levels", len(levels))
    return fairness.problems(schemas, levels, set(words("ALLOW_ALTERED")))


def check_namespaces(api: Api, selector: str) -> list[str]:
    """Problems of quotas and limit ranges."""
    required = Required(
        quota=_switch("REQUIRE_QUOTA", "true"),
        limit_range=_switch("REQUIRE_LIMIT_RANGE", "true"),
        grace=timedelta(minutes=number("GRACE_MINUTES", 10)),
    )
    exempt = text("EXEMPT_NAMESPACES", SYSTEM).replace(",", " ").split()
    found = _by_namespace(listed(api, "/api/v1/resourcequotas")), _by_namespace(listed(api, "/api/v1/limitranges"))
    query = {"labelSelector": selector} if selector else {}
    namespaces = [
        Namespace(name, _created(body), found[0][name], found[1][name])
        for body in listed(api, "/api/v1/namespaces", **query)
        if not any(fnmatchcase(name := body["metadata"]["name"], pattern) for pattern in exempt)
        and "deletionTimestamp" not in body["metadata"]
    ]
    measure("namespaces", len(namespaces))
    measure("namespaces_without_quota", sum(not namespace.quotas for namespace in namespaces))
    return quotas.problems(namespaces, required, datetime.now(UTC))


def check_edges(api: Api) -> list[str]:
    """Problems of the limits of ingresses and meshes."""
    ingresses = listed(api, "/apis/networking.k8s.io/v1/ingresses")
    try:
        filters = listed(api, ENVOY_FILTERS)
    except ApiError as error:
        if error.status != 404:
            raise
        filters = []  # the cluster has no Istio
    measure("ingresses", len(ingresses))
    required = _switch("REQUIRE_INGRESS_LIMITS", "false")
    return edges.ingress_problems(ingresses, required=required) + edges.filter_problems(filters)


def _by_namespace(bodies: list[Json]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = defaultdict(list)
    for body in bodies:
        found[body["metadata"]["namespace"]].append(body)
    return found


def _created(body: Json) -> datetime:
    return datetime.fromisoformat(body["metadata"]["creationTimestamp"])


def _switch(name: str, default: str) -> bool:
    given = text(name, default)
    if given not in ("true", "false"):
        give_up(f"parameter {name}={given!r}: expected true or false")
    return given == "true"


@main
def probe() -> None:
    """Check all limits, then report every finding."""
    checks, window = Checks(), number("REJECTION_WINDOW", 5)
    with connect() as api:
        rejections: Rejections | None = None
        with checks.check("first reading"):
            rejections = Rejections(api, window)
        with checks.check("fairness"):
            checks.problems += check_fairness(api)
        with checks.check("namespaces"):
            checks.problems += check_namespaces(api, text("NAMESPACE_SELECTOR", ""))
        with checks.check("edges"):
            checks.problems += check_edges(api)
        if rejections is not None:
            with checks.check("rejections"):
                checks.problems = rejections.problems() + checks.problems
    checks.report()
