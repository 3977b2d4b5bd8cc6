"""A cluster with safe webhooks, budgets and workloads; and each kind of unsafe one."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.wait import until
from tests.probes.paths import Json
from tests.probes.scenario import Bed, Fault

NAMESPACE = "default"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
STATEFUL_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
BUDGETS = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"


def _workload(name: str, replicas: int) -> Json:
    labels = {"app": name}
    container = {"name": "pause", "image": "docker.io/kubeprobe/pause:dev"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def _service(name: str) -> Json:
    return {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}


def _webhook(name: str, namespace: str, service: str) -> Json:
    """A webhook for a kind without objects, so that it is never called."""
    webhook = {
        "name": f"{name}.safety.example.com",
        "clientConfig": {"service": {"namespace": namespace, "name": service}},
        "rules": [
            {"apiGroups": ["unused.example.com"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["x"]}
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {"metadata": {"name": name}, "webhooks": [webhook]}


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A webhook with an endpoint (the API server). The test bed's single DNS server is ignored."""
    safe = _webhook("safe", "default", "kubernetes")
    authority = bed.api.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")["data"]["ca.crt"]
    safe["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(authority.encode()).decode()
    with bed.cluster.having_at(f"{WEBHOOKS}/validatingwebhookconfigurations", safe):
        yield {"EXCLUDE": "kube-system/coredns"}


@contextmanager
def validating_webhook_without_endpoint(bed: Bed) -> Iterator[None]:
    with (
        bed.cluster.having(NAMESPACE, "services", _service("no-pods")),
        bed.cluster.having_at(f"{WEBHOOKS}/validatingwebhookconfigurations", _webhook("closed", NAMESPACE, "no-pods")),
    ):
        yield


@contextmanager
def mutating_webhook_without_service(bed: Bed) -> Iterator[None]:
    with bed.cluster.having_at(
        f"{WEBHOOKS}/mutatingwebhookconfigurations", _webhook("serviceless", NAMESPACE, "missing")
    ):
        yield


@contextmanager
def blocking_budget(bed: Bed) -> Iterator[None]:
    budget = {
        "metadata": {"name": "blocking"},
        "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "guarded"}}},
    }
    with (
        bed.cluster.having_at(DEPLOYMENTS, _workload("guarded", 2)),
        bed.cluster.having_at(BUDGETS, budget),
    ):
        _wait_until_counted(bed, "blocking", 2)
        yield


@contextmanager
def overlapping_budgets(bed: Bed) -> Iterator[None]:
    budgets = [
        {"metadata": {"name": name}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "twice"}}}}
        for name in ("first", "second")
    ]
    with (
        bed.cluster.having_at(DEPLOYMENTS, _workload("twice", 2)),
        bed.cluster.having_at(BUDGETS, *budgets),
    ):
        yield


def _wait_until_counted(bed: Bed, budget: str, pods: int) -> None:
    def counted() -> bool:
        status = bed.api.get(f"{BUDGETS}/{budget}").get("status", {})
        return bool(status.get("expectedPods") == pods)

    until("the budget's status to be computed", counted)


@contextmanager
def single_deployment(bed: Bed) -> Iterator[None]:
    with (
        bed.cluster.having_at(DEPLOYMENTS, _workload("alone", 1)),
        bed.cluster.having(NAMESPACE, "services", _service("alone")),
    ):
        yield


@contextmanager
def single_stateful_set(bed: Bed) -> Iterator[None]:
    with (
        bed.cluster.having_at(STATEFUL_SETS, _workload("one-shard", 1)),
        bed.cluster.having(NAMESPACE, "services", _service("one-shard")),
    ):
        yield


FAULTS = [
    Fault(
        "a validating webhook has no endpoint",
        validating_webhook_without_endpoint,
        says=r"^validatingwebhookconfiguration closed: webhook closed\.safety.* default/no-pods has no ready",
    ),
    Fault(
        "a mutating webhook has no Service",
        mutating_webhook_without_service,
        says=r"^mutatingwebhookconfiguration serviceless: webhook .* service default/missing has no ready endpoint",
    ),
    Fault(
        "a budget blocks every eviction",
        blocking_budget,
        says=r"^poddisruptionbudget default/blocking blocks every eviction: with minAvailable 100% all 2 of its pods",
    ),
    Fault(
        "two budgets select the same pods",
        overlapping_budgets,
        says=r"^deployment default/twice: its pods are selected by 2 poddisruptionbudgets, first and second",
    ),
    Fault(
        "a Deployment has one replica",
        single_deployment,
        says=r"^deployment default/alone has 1 replica behind service alone",
    ),
    Fault(
        "a StatefulSet has one replica",
        single_stateful_set,
        says=r"^statefulset default/one-shard has 1 replica behind service one-shard",
    ),
]
