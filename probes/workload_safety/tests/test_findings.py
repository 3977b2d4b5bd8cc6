from typing import Any

import pytest

from probes.workload_safety import findings
from probes.workload_safety.probe import Selection


def workload(name: str = "web", replicas: int = 1, **annotations: str) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"namespace": "shop", "name": name, "annotations": annotations},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": name, "tier": "front"}}}},
    }


def service(name: str, namespace: str = "shop", **selector: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"selector": selector}}


def budget(name: str = "web", expected: int = 2, desired: int = 2, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": spec,
        "status": {"expectedPods": expected, "desiredHealthy": desired, "disruptionsAllowed": 0},
    }


def configuration(**webhook: Any) -> dict[str, Any]:
    rules = [{"operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]
    client = {"service": {"namespace": "policy", "name": "hook"}}
    return {"metadata": {"name": "p"}, "webhooks": [{"name": "w", "clientConfig": client, "rules": rules, **webhook}]}


def test_a_webhook_fails_closed_by_default() -> None:
    [found] = findings.fail_closed_webhooks("validatingwebhookconfiguration", [configuration()])
    assert found.without_endpoint() == (
        "validatingwebhookconfiguration p: webhook w has failurePolicy Fail, and its service policy/hook "
        "has no ready endpoint: CREATE, UPDATE of pods is refused"
    )
    assert not list(findings.fail_closed_webhooks("x", [configuration(failurePolicy="Ignore")]))
    assert not list(findings.fail_closed_webhooks("x", [configuration(clientConfig={"url": "https://hook"})]))


def test_an_endpoint_is_ready_by_default() -> None:
    def slices(*ready: bool | None) -> list[dict[str, Any]]:
        return [{"endpoints": [{"conditions": {"ready": one}} for one in ready]}]

    assert findings.has_ready_endpoint(slices(False, True))
    assert findings.has_ready_endpoint(slices(None))
    assert not findings.has_ready_endpoint(slices(False))
    assert not findings.has_ready_endpoint([{"endpoints": None}])


def test_a_budget_that_requires_all_pods_blocks() -> None:
    assert findings.blocking_budget(budget(minAvailable="100%")) == (
        "poddisruptionbudget shop/web blocks every eviction: with minAvailable 100% all 2 of its pods must stay "
        "available; a drain of their nodes never completes"
    )
    assert "with maxUnavailable 0 all" in findings.blocking_budget(budget(maxUnavailable=0))


def test_a_budget_that_blocks_only_while_pods_are_unhealthy_is_ignored() -> None:
    assert findings.blocking_budget(budget(expected=3, desired=2, minAvailable=2)) == ""
    assert findings.blocking_budget(budget(expected=0, desired=1, minAvailable=1)) == ""


def test_a_budget_that_cannot_be_computed_is_reported_with_its_reason() -> None:
    failed = budget(expected=0, desired=0)
    failed["status"]["conditions"] = [{"type": "DisruptionAllowed", "reason": "SyncFailed", "message": "no scale"}]
    assert findings.blocking_budget(failed).endswith("allows no eviction: its status cannot be computed: no scale")


def test_budgets_that_select_the_same_pods_are_named() -> None:
    both = [
        budget("one", selector={"matchLabels": {"app": "web"}}),
        budget("two", selector={"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}),
        budget("other", selector={"matchLabels": {"app": "other"}}),
    ]
    [problem] = findings.overlapping_budgets(both, [workload()])
    assert problem.startswith("deployment shop/web: its pods are selected by 2 poddisruptionbudgets, one and two;")


def test_a_single_replica_counts_only_behind_a_service_of_its_namespace() -> None:
    services = [service("front", tier="front"), service("web", app="web"), service("web", "other", app="web")]
    [problem] = findings.single_replicas([workload()], services)
    assert problem.startswith("deployment shop/web has 1 replica behind services front, web: ")
    assert not list(findings.single_replicas([workload()], [service("web", "other", app="web"), service("none")]))
    assert not list(findings.single_replicas([workload(replicas=2), workload(replicas=0)], services))


def test_an_intended_single_replica_is_ignored() -> None:
    intended = workload(**{findings.INTENDED: "intended"})
    assert not list(findings.single_replicas([intended], [service("web", app="web")]))


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ({"key": "app", "operator": "In", "values": ["web"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "none", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_selectors_match_as_in_kubernetes(expression, matches) -> None:
    assert findings.selects({"matchExpressions": [expression]}, {"app": "web"}) is matches


def test_an_empty_selector_matches_everything_and_a_missing_one_nothing() -> None:
    assert findings.selects({}, {"app": "web"})
    assert not findings.selects(None, {"app": "web"})


def test_exclusions_are_patterns_and_objects_of_probes_are_excluded() -> None:
    selection = Selection([], "", ["kube-system/*", "*/web-dev"])
    assert selection.includes(workload())
    assert not selection.includes(workload("web-dev"))
    created_by_a_probe = {"metadata": {"namespace": "shop", "name": "x", "labels": {"kubeprobe.io/run": "1"}}}
    assert not selection.includes(created_by_a_probe)
