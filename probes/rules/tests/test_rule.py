import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeprobe.catalog.model import ProbeCaseSpec
from kubeprobe.catalog.model.rule import rules_variable
from probes._access import Access
from probes._api import Api
from probes.rules.expressions import Expression, NotEvaluated, Text
from probes.rules.probe import by_list, inspect
from probes.rules.rule import Findings, ObjectList, examine, read_rules
from tests.probes.scripted import scripted_api

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CATALOG = Path(__file__).parents[1] / "catalog.yaml"


def deployment(*containers: dict[str, Any], name: str = "web", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": list(containers)}}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"template": template, **spec}}


def evaluate(
    expect: str, *objects: dict[str, Any], where: str = "true", message: str = "wrong", **params: str
) -> Findings:
    given = rules_variable(
        ProbeCaseSpec.model_validate(
            {
                "template": "rules",
                "kind": "inspection",
                "rules": [{"resource": "apps/v1/deployments", "where": where, "expect": expect, "message": message}],
            }
        ).rules
    )
    [(object_list, rules)] = by_list(read_rules(given)).items()
    return examine(object_list, rules, objects, {"params": params, "now": NOW})


def example() -> dict[ObjectList, Any]:
    _template, case = yaml.safe_load_all(CATALOG.read_text())
    return by_list(read_rules(rules_variable(ProbeCaseSpec.model_validate(case["spec"]).rules)))


def violations_of_example(resource: str, *objects: dict[str, Any]) -> list[str]:
    object_list = ObjectList(resource)
    findings = examine(
        object_list, example()[object_list], objects, {"params": {"EXEMPT_NAMESPACES": "kube-system"}, "now": NOW}
    )
    assert findings.not_evaluated == []
    return [wrong for _, wrong in findings.broken]


READY = {"name": "web", "image": "registry.example.com:5000/shop/web:1.4", "readinessProbe": {"httpGet": {"port": 80}}}


def test_an_object_that_satisfies_the_rule_is_not_reported() -> None:
    assert evaluate("object.spec.replicas >= 2", deployment(replicas=2)) == Findings(1, [], [])


def test_an_object_that_violates_the_rule_is_named_with_the_message() -> None:
    message = "{{ object.spec.replicas }} replica of {{params.LEAST}}, at {{ now }}"
    found = evaluate("object.spec.replicas >= int(params.LEAST)", deployment(replicas=1), message=message, LEAST="2")
    assert found.broken == [(0, "deployments shop/web: 1 replica of 2, at 2026-11-25 12:00:00 UTC")]


def test_a_rule_is_only_for_objects_that_match_where() -> None:
    found = evaluate(
        "false", deployment(namespace="a"), deployment(namespace="b"), where="object.metadata.namespace == 'b'"
    )
    assert [wrong for _, wrong in found.broken] == ["deployments b/web: wrong"]


def test_a_rule_without_a_value_is_neither_satisfied_nor_violated() -> None:
    found = evaluate("object.spec.paused", deployment(), deployment(paused="yes", name="other"))
    assert found.broken == []
    assert found.not_evaluated == [
        'deployments shop/web: the rule cannot be evaluated: object.spec.paused: Key not found in map : "paused"',
        "deployments shop/other: the rule cannot be evaluated: object.spec.paused: expected true or false, got yes",
    ]


def test_a_message_without_a_value_still_names_the_object() -> None:
    found = evaluate("false", deployment(), message="has {{ object.spec.nothing }}")
    [(_, wrong)] = found.broken
    assert wrong.startswith("deployments shop/web: has <object.spec.nothing: ")


def test_times_can_be_compared() -> None:
    old = {"metadata": {"name": "old", "creationTimestamp": "2026-11-01T00:00:00Z"}}
    expression = Expression("now - timestamp(object.metadata.creationTimestamp) < duration('240h')")
    assert expression.is_true({"object": old, "params": {}, "now": NOW}) is False


def test_dollar_signs_are_not_expanded_by_the_kubelet() -> None:
    assert "$" not in rules_variable(
        ProbeCaseSpec.model_validate(
            {
                "template": "rules",
                "kind": "inspection",
                "rules": [{"resource": "v1/pods", "expect": "object.a.matches('^a$(B)$')", "message": "$(HOME)"}],
            }
        ).rules
    )
    assert evaluate("'ab'.matches('^ab$')", deployment()).broken == []


def test_a_list_is_requested_once_for_all_of_its_rules() -> None:
    lists = example()
    assert [(object_list.path, len(rules)) for object_list, rules in lists.items()] == [
        ("/apis/apps/v1/deployments", 2),
        ("/apis/networking.k8s.io/v1/ingresses", 1),
    ]
    assert ObjectList("v1/pods", "shop", "app=web").path == "/api/v1/namespaces/shop/pods"


def test_an_empty_list_of_rules_is_refused() -> None:
    with pytest.raises(ValueError, match="no rules: expected `rules` in the ProbeCase"):
        read_rules("")


def test_an_invalid_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="'a b': invalid CEL expression"):
        Expression("a b")
    with pytest.raises(NotEvaluated):
        Text("a {{ object.x }}")._pieces[1].value({"object": {}, "params": {}, "now": NOW})  # type: ignore[union-attr]


def test_the_example_passes_a_correct_deployment() -> None:
    digest = {**READY, "image": "shop/web@sha256:" + "0" * 64}
    assert violations_of_example("apps/v1/deployments", deployment(READY), deployment(digest)) == []


def test_the_example_names_missing_readiness_probes_and_image_versions() -> None:
    sidecar = {"name": "sidecar", "image": "registry.example.com/proxy"}
    newest = {**READY, "image": "shop/web:latest"}
    assert violations_of_example("apps/v1/deployments", deployment(newest, sidecar)) == [
        "deployments shop/web: no readiness probe in sidecar: it receives requests before it is ready",
        "deployments shop/web: image shop/web:latest, registry.example.com/proxy has no fixed version: it may change",
    ]


def test_the_example_ignores_exempt_namespaces() -> None:
    assert (
        violations_of_example("apps/v1/deployments", deployment({"name": "a", "image": "a"}, namespace="kube-system"))
        == []
    )


def test_the_example_names_ingresses_without_tls() -> None:
    def ingress(**spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": "front", "namespace": "shop"}, "spec": spec}

    assert violations_of_example("networking.k8s.io/v1/ingresses", ingress(tls=[{"hosts": ["a"]}])) == []
    assert violations_of_example("networking.k8s.io/v1/ingresses", ingress(rules=[{"host": "a.example.com"}, {}])) == [
        "ingresses shop/front: no TLS for a.example.com, *: its traffic is not encrypted"
    ]


def test_the_readmes_example_works() -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```", (CATALOG.parent / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    spec = ProbeCaseSpec.model_validate(yaml.safe_load(block)["spec"])
    [(object_list, rules)] = by_list(read_rules(rules_variable(spec.rules))).items()
    assert (object_list.path, object_list.query) == (
        "/apis/apps/v1/namespaces/shop/deployments",
        {"labelSelector": "tier=web"},
    )
    found = examine(object_list, rules, [deployment(replicas=1), deployment()], {"params": spec.parameters, "now": NOW})
    assert found.not_evaluated == []
    assert found.broken[0] == (0, "deployments shop/web: 1 replicas, expected at least 2")


def test_a_rule_whose_objects_cannot_be_listed_does_not_hide_others() -> None:
    rules = [
        {"resource": resource, "expect": "size(object.metadata.name) > 99", "message": "wrong"}
        for resource in ("example.com/v1/widgets", "v1/secrets", "v1/configmaps")
    ]
    case = ProbeCaseSpec.model_validate({"template": "rules", "kind": "inspection", "rules": rules})
    forbidden = 'secrets is forbidden: User "u" cannot list resource "secrets" in API group "" at the cluster scope'
    answers = [
        (404, {"kind": "Status", "reason": "NotFound", "message": "not found"}),
        (403, {"kind": "Status", "reason": "Forbidden", "message": forbidden}),
        (200, {"items": [{"metadata": {"name": "web", "namespace": "shop"}}]}),
    ]
    with scripted_api(*answers) as server, Api(Access(f"http://127.0.0.1:{server.server_port}")) as api:
        missing, forbidden_list, listed = inspect(api, read_rules(rules_variable(case.rules)))
    assert "does not serve example.com/v1/widgets" in missing.not_evaluated[0]
    assert forbidden_list.not_evaluated == ["permission missing: list secrets at the cluster scope"]
    assert [number for number, _ in listed.broken] == [2]
