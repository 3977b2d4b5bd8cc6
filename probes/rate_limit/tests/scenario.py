"""The faults that rate-limit must detect, on the real cluster."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.wait import until
from tests.probes.scenario import Bed, Fault, State

Json = dict[str, Any]
FLOWCONTROL = "/apis/flowcontrol.apiserver.k8s.io/v1"
SCHEMAS, LEVELS = f"{FLOWCONTROL}/flowschemas", f"{FLOWCONTROL}/prioritylevelconfigurations"
EXTENSIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMESPACE = "rate-limit-tenant"
LABEL = "rate-limit-test"
USER = "rate-limit-flood"
LARGE = "/openapi/v2"  # a slow request that everybody may send
NOW = {"GRACE_MINUTES": "0"}


def quota(name: str, **hard: str) -> Json:
    return {"metadata": {"name": name}, "spec": {"hard": {key.replace("_", "."): value for key, value in hard.items()}}}


def limit_range(name: str, **limits: Json) -> Json:
    return {"metadata": {"name": name}, "spec": {"limits": [{"type": "Container", **limits}]}}


QUOTA = quota("compute", requests_cpu="4", requests_memory="4Gi")
RANGE = limit_range(
    "defaults", default={"cpu": "500m", "memory": "64Mi"}, defaultRequest={"cpu": "100m", "memory": "64Mi"}
)


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A tenant's namespace with a quota and defaults; the others belong to other tests."""
    labels = {LABEL: "yes"}
    bed.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    try:
        with (
            bed.cluster.having(NAMESPACE, "resourcequotas", QUOTA),
            bed.cluster.having(NAMESPACE, "limitranges", RANGE),
        ):
            yield {"NAMESPACE_SELECTOR": LABEL}
    finally:
        bed.kubectl("delete", "namespace", NAMESPACE)


def having(kind: str, *bodies: Json) -> State:
    """A state in which these objects are in the tenant's namespace."""

    @contextmanager
    def created(bed: Bed) -> Iterator[None]:
        with bed.cluster.having(NAMESPACE, kind, *bodies):
            yield

    return created


def having_at(path: str, *bodies: Json) -> State:
    """A state in which these objects exist."""

    @contextmanager
    def created(bed: Bed) -> Iterator[None]:
        with bed.cluster.having_at(path, *bodies):
            yield

    return created


def lacking(kind: str, body: Json) -> State:
    """A state in which the tenant's namespace lacks an object."""

    @contextmanager
    def deleted(bed: Bed) -> Iterator[None]:
        path = f"/api/v1/namespaces/{NAMESPACE}/{kind}"
        bed.api.delete(f"{path}/{body['metadata']['name']}")
        try:
            yield
        finally:
            bed.api.create(path, body)

    return deleted


def schema(name: str, level: str, group: str, precedence: int = 7000) -> Json:
    resource = {"verbs": ["list"], "apiGroups": ["rate-limit.test"], "resources": ["*"], "namespaces": ["*"]}
    subject = {"kind": "Group", "group": {"name": group}}
    spec = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": [subject], "resourceRules": [resource]}],
    }
    return {"metadata": {"name": name}, "spec": spec}


def starved_level(name: str) -> Json:
    limited = {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}


@contextmanager
def level_altered(bed: Bed) -> Iterator[None]:
    def annotate(value: str) -> None:
        annotation = f"apf.kubernetes.io/autoupdate-spec={value}"
        bed.kubectl("annotate", "prioritylevelconfiguration", "workload-low", annotation, "--overwrite")

    annotate("false")
    try:
        yield
    finally:
        annotate("true")


@contextmanager
def starved(bed: Bed) -> Iterator[None]:
    with (
        bed.cluster.having_at(LEVELS, starved_level("test-starved")),
        bed.cluster.having_at(SCHEMAS, schema("test-starved", "test-starved", "unused")),
    ):
        yield


@contextmanager
def flooded(bed: Bed) -> Iterator[None]:
    """A client with more concurrent requests than the one seat of its level, which cannot borrow."""
    rule = {"verbs": ["get"], "nonResourceURLs": [LARGE]}
    own = schema("test-flood", "test-flood", "unused")
    own["spec"]["rules"] = [{"subjects": [{"kind": "User", "user": {"name": USER}}], "nonResourceRules": [rule]}]
    rejected, over = threading.Event(), threading.Event()

    def flood() -> None:
        while not over.wait(0.05):
            if _request(bed) == 429:
                rejected.set()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    with (
        bed.cluster.having_at(LEVELS, starved_level("test-flood")),
        bed.cluster.having_at(SCHEMAS, own),
    ):
        for thread in threads:
            thread.start()
        try:
            until("requests to be rejected", rejected.is_set, 30)
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(20)


def _request(bed: Bed) -> int:
    """The status of the user's request; 0 without a response."""
    access = bed.api.access
    connection = http.client.HTTPSConnection(access.host, access.port, timeout=10, context=access.tls)
    try:
        connection.request("GET", LARGE, headers={"Impersonate-User": USER})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def ingress(name: str, **annotations: str) -> Json:
    prefix = "nginx.ingress.kubernetes.io/"
    backend = {"service": {"name": "nothing", "port": {"number": 80}}}
    prefixed = {prefix + key.replace("_", "-"): value for key, value in annotations.items()}
    return {"metadata": {"name": name, "annotations": prefixed}, "spec": {"defaultBackend": backend}}


def ingresses(*bodies: Json) -> State:
    return having_at(f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses", *bodies)


@contextmanager
def filter_off(bed: Bed) -> Iterator[None]:
    """A minimal definition of Istio's EnvoyFilter, and a rate limit that is not enabled."""
    names = {"plural": "envoyfilters", "singular": "envoyfilter", "kind": "EnvoyFilter"}
    any_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha3", "served": True, "storage": True, "schema": {"openAPIV3Schema": any_object}}
    spec = {"group": "networking.istio.io", "names": names, "scope": "Namespaced", "versions": [version]}
    definition = {"metadata": {"name": "envoyfilters.networking.istio.io"}, "spec": spec}
    bucket = {"max_tokens": 100, "tokens_per_fill": 100, "fill_interval": "60s"}
    value = {"name": "envoy.filters.http.local_ratelimit", "typed_config": {"value": {"token_bucket": bucket}}}
    body = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "limit", "namespace": NAMESPACE},
        "spec": {
            "configPatches": [{"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_BEFORE", "value": value}}]
        },
    }
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{NAMESPACE}/envoyfilters"
    with bed.cluster.having_at(EXTENSIONS, definition):
        bed.kubectl("wait", "crd/envoyfilters.networking.istio.io", "--for=condition=Established")
        with bed.cluster.having_at(path, body):
            yield


FAULTS = [
    Fault(
        "a flow has no priority level",
        having_at(SCHEMAS, schema("test-dangling", "nowhere", "nobody")),
        says=r"^FlowSchema test-dangling: its priority level nowhere does not exist",
    ),
    Fault(
        "a priority level has no shares",
        starved,
        says=r"^PriorityLevelConfiguration test-starved: has no concurrency shares",
    ),
    Fault(
        "requests are rejected",
        flooded,
        says=r"^PriorityLevelConfiguration test-flood: rejected \d+ requests of FlowSchema test-flood",
    ),
    Fault(
        "everybody is exempt from API limits",
        having_at(SCHEMAS, schema("test-exempt", "exempt", "system:authenticated")),
        says=r"^FlowSchema test-exempt: exempts system:authenticated from all limits",
    ),
    Fault(
        "flows contradict each other",
        having_at(SCHEMAS, schema("test-a", "workload-low", "team-a"), schema("test-b", "workload-high", "team-a")),
        says=r"^FlowSchemas test-a .*, test-b .*: have the same matchingPrecedence 7000",
    ),
    Fault(
        "a priority level of Kubernetes is altered",
        level_altered,
        says=r"^PriorityLevelConfiguration workload-low: was altered manually",
    ),
    Fault(
        "a namespace has no quota",
        lacking("resourcequotas", QUOTA),
        parameters=NOW,
        says=rf"^namespace {NAMESPACE}: has no ResourceQuota",
    ),
    Fault(
        "a quota has no defaults",
        lacking("limitranges", RANGE),
        parameters=NOW,
        says=rf"^namespace {NAMESPACE}: ResourceQuota compute limits requests.cpu to 4, but no LimitRange",
    ),
    Fault(
        "a limit range contradicts another",
        having("limitranges", limit_range("low", max={"cpu": "200m"})),
        says=rf"^namespace {NAMESPACE}: LimitRange defaults has the default cpu 500m, above the max 200m",
    ),
    Fault(
        "a default is above the quota",
        having("resourcequotas", quota("tiny", requests_cpu="50m")),
        says=rf"^namespace {NAMESPACE}: ResourceQuota tiny limits requests.cpu to 50m, less than the default 100m",
    ),
    Fault(
        "an ingress's limits contradict each other",
        ingresses(ingress("front", limit_rps="20", limit_rpm="10")),
        says=rf"^ingress {NAMESPACE}/front: limit-rpm 10 and limit-rps 20 contradict each other",
    ),
    Fault(
        "an ingress's limit exempts everybody",
        ingresses(ingress("front", limit_rps="20", limit_whitelist="0.0.0.0/0")),
        says=rf"^ingress {NAMESPACE}/front: limit-whitelist has 0.0.0.0/0: every client is exempt",
    ),
    Fault(
        "a mesh's limit is off",
        filter_off,
        says=rf"^EnvoyFilter {NAMESPACE}/limit: local rate limit: filter_enabled is 0 %",
    ),
]
