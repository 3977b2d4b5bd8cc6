"""Finds risks at the next drain, update or restart: webhooks that fail closed, blocking budgets, single replicas.

Parameters: CHECKS, NAMESPACES, SELECTOR, EXCLUDE (README.md).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from kubeprobe_client import give_up, main, measure

from probes._api import Api, connect
from probes._checks import Checks
from probes._parameters import text, words
from probes.workload_safety import findings

Json = dict[str, Any]

PAGE_SIZE = 250
"""Objects per page, a compromise between memory and number of requests."""

_RUN_LABEL = "kubeprobe.io/run"  # of objects that probes created, which are not workloads


@dataclass(frozen=True)
class Selection:
    """The workloads, Services and budgets to check."""

    namespaces: list[str]
    """Empty: all."""
    selector: str
    """A label selector for workloads; empty: all."""
    exclude: list[str]
    """Patterns of `namespace/name`, such as `kube-system/*`."""

    def includes(self, found: Json) -> bool:
        """Whether to check this object."""
        metadata = found["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        return _RUN_LABEL not in (metadata.get("labels") or {}) and not any(
            fnmatchcase(name, pattern) for pattern in self.exclude
        )


class Inspection:
    """Lists the objects for the checks, each kind once."""

    def __init__(self, api: Api, selection: Selection) -> None:
        self.api = api
        self.selection = selection
        self._workloads: list[Json] | None = None

    def webhooks(self) -> Iterator[str]:
        """Webhooks with `failurePolicy: Fail` whose Service has no endpoint."""
        has_endpoint: dict[tuple[str, str], bool] = {}
        checked = 0
        for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
            path = f"/apis/admissionregistration.k8s.io/v1/{kind}s"
            for webhook in findings.fail_closed_webhooks(kind, self._list(path)):
                checked += 1
                service = (webhook.namespace, webhook.service)
                if service not in has_endpoint:
                    has_endpoint[service] = findings.has_ready_endpoint(self._slices(*service))
                if not has_endpoint[service]:
                    yield webhook.without_endpoint()
        measure("webhooks_checked", checked)

    def budgets(self) -> Iterator[str]:
        """PodDisruptionBudgets that allow no eviction."""
        listed = self._everywhere("policy/v1", "poddisruptionbudgets")
        budgets = [_reduced_budget(one) for one in listed if self.selection.includes(one)]
        measure("budgets_checked", len(budgets))
        yield from filter(None, map(findings.blocking_budget, budgets))
        yield from findings.overlapping_budgets(budgets, self.workloads())

    def replicas(self) -> Iterator[str]:
        """Workloads with one replica and a Service."""
        workloads = self.workloads()
        measure("workloads_checked", len(workloads))
        yield from findings.single_replicas(workloads, map(_reduced_service, self._everywhere("v1", "services")))

    def workloads(self) -> list[Json]:
        """The selected Deployments and StatefulSets; with the kind, which items of lists lack."""
        if self._workloads is None:
            self._workloads = [
                _reduced_workload(kind, one)
                for kind in ("Deployment", "StatefulSet")
                for one in self._everywhere("apps/v1", f"{kind.lower()}s", self.selection.selector)
                if self.selection.includes(one)
            ]
        return self._workloads

    def _everywhere(self, version: str, resource: str, selector: str = "") -> Iterator[Json]:
        root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        query = {"labelSelector": selector} if selector else {}
        names = self.selection.namespaces
        for path in [f"{root}/namespaces/{name}/{resource}" for name in names] or [f"{root}/{resource}"]:
            yield from self._list(path, **query)

    def _slices(self, namespace: str, service: str) -> Iterator[Json]:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        return self._list(path, labelSelector=f"kubernetes.io/service-name={service}")

    def _list(self, path: str, **query: str) -> Iterator[Json]:
        for page in self.api.pages(path, PAGE_SIZE, **query):
            yield from page


def _reduced_budget(budget: Json) -> Json:
    """The required fields only: all objects of a large cluster would need too much memory."""
    spec, status = budget.get("spec") or {}, budget.get("status") or {}
    return {
        "metadata": _identity(budget),
        "spec": {key: spec[key] for key in ("minAvailable", "maxUnavailable", "selector") if key in spec},
        "status": {key: status[key] for key in ("conditions", "expectedPods", "desiredHealthy") if key in status},
    }


def _reduced_workload(kind: str, workload: Json) -> Json:
    annotations = workload["metadata"].get("annotations") or {}
    labels = (workload["spec"]["template"].get("metadata") or {}).get("labels")
    return {
        "kind": kind,
        "metadata": {**_identity(workload), "annotations": {findings.INTENDED: annotations.get(findings.INTENDED)}},
        "spec": {"replicas": workload["spec"].get("replicas", 1), "template": {"metadata": {"labels": labels}}},
    }


def _reduced_service(service: Json) -> Json:
    return {"metadata": _identity(service), "spec": {"selector": (service.get("spec") or {}).get("selector")}}


def _identity(found: Json) -> Json:
    return {"namespace": found["metadata"]["namespace"], "name": found["metadata"]["name"]}


def _checks(inspection: Inspection) -> dict[str, Callable[[], Iterator[str]]]:
    """The checks in CHECKS, the most urgent first."""
    known = {
        "webhooks": inspection.webhooks,
        "budgets": inspection.budgets,
        "replicas": inspection.replicas,
    }
    selected = words("CHECKS") or list(known)
    unknown = [name for name in selected if name not in known]
    if unknown:
        give_up(f"parameter CHECKS: unknown check {unknown[0]!r}; expected any of {', '.join(known)}")
    return {name: check for name, check in known.items() if name in selected}


@main
def probe() -> None:
    """Run every check, then report every finding."""
    checks = Checks()
    with connect() as api:
        selection = Selection(words("NAMESPACES"), text("SELECTOR", ""), words("EXCLUDE"))
        for name, check in _checks(Inspection(api, selection)).items():
            with checks.check(name):
                found = list(check())
                measure(f"{name}_unsafe", len(found))
                checks.problems += found
    checks.report()
