"""Rules in CEL: an invalid expression is rejected with its location, a valid one reaches the probe."""

import json

import pytest

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.cel import MAX_LENGTH, VARIABLES, CelError, check_condition, inline, type_of
from kubeprobe.catalog.model import ProbeCaseSpec, ProbeTemplateSpec
from kubeprobe.catalog.setup import TargetCluster, setup_objects
from probes.rules.expressions import Expression, Text
from tests.unit.catalog.given import TEMPLATE, declared, only_problem
from tests.unit.catalog.test_render import env, rendered

RULE = {"resource": "apps/v1/deployments", "expect": "object.spec.replicas > 1", "message": "a single replica"}


def case(**rule):
    spec = {"template": "probes", "kind": "inspection", "rules": [RULE | rule]}
    return "\n".join(
        ["apiVersion: kubeprobe.io/v1", "kind: ProbeCase", "metadata: {name: safe}", f"spec: {json.dumps(spec)}", ""]
    )


def test_a_case_may_have_rules(tmp_path):
    found = declared(tmp_path, TEMPLATE, case(where="has(object.spec.replicas)")).entries["ProbeCase", "safe"]
    assert [rule.resource for rule in found.spec.rules] == ["apps/v1/deployments"]


@pytest.mark.parametrize(
    ("rule", "path", "message", "near"),
    [
        ({"expect": "objct.spec == 1"}, "expect", "CEL, column 6: undeclared reference to 'objct.spec'", "object"),
        ({"where": "a ++ b"}, "where", "CEL, column 4: Syntax error: extraneous input '+'", ""),
        (
            {"expect": "true &&\n object.x.startsWth('a')"},
            "expect",
            "CEL, line 2, column 20: undeclared reference to 'startsWth'",
            "startsWith",
        ),
        ({"expect": "1 + 'a' == 2"}, "expect", "CEL, column 3: found no matching overload for '_+_'", ""),
        ({"expect": "size(object)"}, "expect", "CEL, column 1: expected a boolean, found type int", ""),
        ({"message": "so\nmuch {{ objct }}"}, "message", "CEL, line 2, column 9: undeclared reference to", "object"),
        ({"resource": "Deployment"}, "resource", "'Deployment' is not a resource", ""),
    ],
)
def test_an_invalid_rule_is_rejected_with_its_location(tmp_path, rule, path, message, near):
    problem = only_problem(tmp_path, TEMPLATE, case(**rule))
    assert (problem.file, problem.line) == (f"{tmp_path}/catalog.yaml", 9)
    assert problem.path == f"spec.rules[0].{path}"
    assert problem.message.startswith(message)
    assert problem.expected
    assert problem.nearest == near


def test_the_reported_line_is_that_of_the_expression(tmp_path):
    text = """
        apiVersion: kubeprobe.io/v1
        kind: ProbeCase
        metadata: {name: safe}
        spec:
          template: probes
          kind: inspection
          rules:
            - resource: v1/pods
              message: wrong
              expect: >-
                object.spec.nodeName !=
    """
    problem = only_problem(tmp_path, TEMPLATE, text)
    assert problem.line == 15
    assert "mismatched input '<EOF>'" in problem.message


def test_rules_that_exceed_an_environment_variable_are_rejected(tmp_path):
    rules = json.dumps([RULE | {"message": "x" * 9_000}] * 12)
    text = case().replace(json.dumps([RULE]), rules)
    problem = only_problem(tmp_path, TEMPLATE, text)
    assert problem.message.startswith("these rules are 109")


@pytest.mark.parametrize("field", ["message", "expect", "where"])
def test_a_text_that_is_too_long_is_rejected_before_it_is_read(tmp_path, field):
    problem = only_problem(tmp_path, TEMPLATE, case(**{field: "{" * 40_000}))
    assert problem.path == f"spec.rules[0].{field}"
    assert "40000 characters" in problem.message
    assert str(MAX_LENGTH) in problem.message + problem.expected


@pytest.mark.parametrize("text", ["{" * 40_000, "{{" * 20_000 + "}", "}}" * 20_000, "{{1}}" * 8_000])
def test_the_probe_reads_hostile_texts_as_the_catalog_does(text):
    pieces = Text(text)._pieces
    assert [piece.text for piece in pieces[1::2]] == [expression.strip() for expression, _ in inline(text)]


def test_the_probe_gets_the_rules_as_json():
    rules = [{**RULE, "where": "object.a.matches('^b$')", "labelSelector": {"matchLabels": {"app": "web"}}}]
    value = env(rendered(case={"rules": rules}))["KUBEPROBE_RULES"]
    assert value is not None
    assert "$" not in value
    assert json.loads(value) == [{**rules[0], "labelSelector": "app=web"}]


def test_a_case_without_rules_sets_no_variable():
    assert "KUBEPROBE_RULES" not in env(rendered())


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.?replicas.orValue(1) > 0",
        "object.metadata.name.lowerAscii().split('-').join('.') == 'a'",
        "now - timestamp(object.metadata.creationTimestamp) > duration('1h')",
        "int(params.LEAST) > 1 && 'x' in params",
        "params.LEAST > 1",
        "nothing",
        "now == 'today'",
        "object.quantity().isLessThan(1)",
    ],
)
def test_the_catalog_and_the_probe_accept_the_same_expressions(expression):
    def taken(check):
        try:
            check(expression)
        except ValueError:
            return False
        return True

    assert taken(type_of) == taken(Expression)


def test_every_variable_can_be_used():
    for variable in VARIABLES:
        assert type_of(variable)
    with pytest.raises(CelError):
        check_condition("now")


def test_the_account_may_list_the_resources_of_the_rules_and_nothing_else():
    everywhere = {**RULE, "resource": "v1/pods"}
    found = Catalog(
        templates={"t": ProbeTemplateSpec.model_validate({"image": "i", "serviceAccountName": "prober"})},
        cases={
            "c": ProbeCaseSpec.model_validate(
                {
                    "template": "t",
                    "kind": "inspection",
                    "rules": [everywhere, everywhere, {**RULE, "namespace": "shop"}],
                }
            )
        },
    )
    roles = [body for body in setup_objects(found, ["c"], TargetCluster("prod-1")) if "rules" in body]
    assert [(role["kind"], role["metadata"].get("namespace"), role["rules"]) for role in roles] == [
        ("ClusterRole", None, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]),
        ("Role", "shop", [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]}]),
    ]
