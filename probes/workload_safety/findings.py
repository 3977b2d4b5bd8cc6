"""Risks of webhooks, disruption budgets and workloads, as text.

Pure: `probe` lists the objects and reports the findings.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

INTENDED = "kubeprobe.io/single-replica"
"""The annotation of a workload with one replica on purpose: `intended`."""


@dataclass(frozen=True)
class Webhook:
    """One webhook that fails closed and has a Service."""

    configuration: str
    """`validatingwebhookconfiguration policy`."""
    name: str
    namespace: str
    service: str
    requests: str
    """`CREATE, UPDATE of pods, deployments`."""

    def without_endpoint(self) -> str:
        """The consequence if its Service has no endpoint."""
        return (
            f"{self.configuration}: webhook {self.name} has failurePolicy Fail, and its service "
            f"{self.namespace}/{self.service} has no ready endpoint: {self.requests} is refused"
        )


def fail_closed_webhooks(kind: str, configurations: Iterable[Json]) -> Iterator[Webhook]:
    """The webhooks of these configurations that fail closed and have a Service."""
    for configuration in configurations:
        for webhook in configuration.get("webhooks") or []:
            service = webhook["clientConfig"].get("service")
            if service and webhook.get("failurePolicy", "Fail") == "Fail":
                label = f"{kind} {configuration['metadata']['name']}"
                requests = _requests(webhook.get("rules") or [])
                yield Webhook(label, webhook["name"], service["namespace"], service["name"], requests)


def has_ready_endpoint(slices: Iterable[Json]) -> bool:
    """Whether any endpoint in these EndpointSlices is ready (an unset condition means ready, as in the API)."""
    return any(
        (endpoint.get("conditions") or {}).get("ready") is not False
        for one in slices
        for endpoint in one.get("endpoints") or []
    )


def blocking_budget(budget: Json) -> str:
    """Why a PodDisruptionBudget allows no eviction even if all of its pods are healthy; empty if it does."""
    status, spec = budget.get("status") or {}, budget.get("spec") or {}
    label = f"poddisruptionbudget {_name(budget)}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionAllowed" and condition.get("reason") == "SyncFailed":
            return f"{label} allows no eviction: its status cannot be computed: {condition.get('message', '')}"
    expected, desired = status.get("expectedPods", 0), status.get("desiredHealthy", 0)
    if not expected or desired < expected:
        return ""
    key = "minAvailable" if "minAvailable" in spec else "maxUnavailable"
    return (
        f"poddisruptionbudget {_name(budget)} blocks every eviction: with {key} {spec.get(key)} "
        f"all {expected} of its pods must stay available; a drain of their nodes never completes"
    )


def overlapping_budgets(budgets: Iterable[Json], workloads: Iterable[Json]) -> Iterator[str]:
    """Workloads whose pods two budgets select, which the API refuses to evict."""
    by_namespace = _by_namespace(budgets)
    for workload in workloads:
        labels = _template_labels(workload)
        metadata = workload["metadata"]
        matching = [
            one["metadata"]["name"]
            for one in by_namespace.get(metadata["namespace"], [])
            if selects((one.get("spec") or {}).get("selector"), labels)
        ]
        if len(matching) > 1:
            yield (
                f"{_kind(workload)} {_name(workload)}: its pods are selected by {len(matching)} poddisruptionbudgets, "
                f"{' and '.join(sorted(matching))}; the API refuses to evict such pods"
            )


def single_replicas(workloads: Iterable[Json], services: Iterable[Json]) -> Iterator[str]:
    """Deployments and StatefulSets with one replica and a Service."""
    by_namespace = _by_namespace(services)
    for workload in workloads:
        annotations = workload["metadata"].get("annotations") or {}
        if workload["spec"].get("replicas", 1) != 1 or annotations.get(INTENDED) == "intended":
            continue
        labels = _template_labels(workload)
        matching = [
            one["metadata"]["name"]
            for one in by_namespace.get(workload["metadata"]["namespace"], [])
            if (selector := (one.get("spec") or {}).get("selector")) and selector.items() <= labels.items()
        ]
        if matching:
            services_text = f"{'service' if len(matching) == 1 else 'services'} {', '.join(sorted(matching))}"
            yield (
                f"{_kind(workload)} {_name(workload)} has 1 replica behind {services_text}: "
                "every drain, update or crash of it is an outage"
            )


def selects(selector: Json | None, labels: dict[str, str]) -> bool:
    """Whether a label selector matches. An empty one matches everything, a missing one nothing."""
    if selector is None:
        return False
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    expressions: list[Json] = selector.get("matchExpressions") or []
    return wanted.items() <= labels.items() and all(_matches(one, labels) for one in expressions)


def _matches(expression: Json, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def _requests(rules: list[Json]) -> str:
    operations = dict.fromkeys(operation for rule in rules for operation in rule.get("operations") or [])
    resources = dict.fromkeys(resource for rule in rules for resource in rule.get("resources") or [])
    return f"{', '.join(operations) or 'nothing'} of {', '.join(resources) or 'nothing'}"


def _template_labels(workload: Json) -> dict[str, str]:
    labels: dict[str, str] = (workload["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return labels


def _by_namespace(objects: Iterable[Json]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for one in objects:
        found.setdefault(one["metadata"]["namespace"], []).append(one)
    return found


def _kind(workload: Json) -> str:
    kind: str = workload["kind"]
    return kind.lower()


def _name(found: Json) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"
