"""The kinds: durations, selectors, connections, render values, and their stored form."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from kubeprobe.catalog.model import (
    BindingSpec,
    ClusterSpec,
    LabelSelector,
    NodeChoice,
    ProbeCaseSpec,
    ProbeTemplateSpec,
    RenderConfigSpec,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1d1h1m1s", 90_061), ("90m", 5400)],
)
def test_durations_are_parsed(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "-5m", "1.5h", "30m1h", "5M", "400d", "0s", f"{'9' * 5000}s"])
def test_invalid_durations_are_rejected(text):
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@given(st.integers(1, 366 * 86_400))
def test_durations_round_trip(seconds):
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def selector(**spec):
    return LabelSelector.model_validate(spec)


def test_a_selector_matches_all_its_requirements():
    found = selector(
        matchLabels={"region": "eu"},
        matchExpressions=[
            {"key": "wave", "operator": "In", "values": ["1", "2"]},
            {"key": "edge", "operator": "DoesNotExist"},
        ],
    )
    assert found.matches({"region": "eu", "wave": "2"})
    assert not found.matches({"region": "eu", "wave": "3"})
    assert not found.matches({"region": "eu", "wave": "2", "edge": ""})
    assert str(found) == "region=eu,wave in (1,2),!edge"


def test_an_empty_selector_matches_all():
    assert selector().matches({})


@pytest.mark.parametrize(
    ("connection", "kind", "stored"),
    [
        ("local", "local", "local"),
        ("inCluster", "inCluster", "inCluster"),
        ({"local": True}, "local", "local"),
        ({"kubeconfig": {"file": "k", "context": "c"}}, "kubeconfig", {"kubeconfig": {"file": "k", "context": "c"}}),
    ],
)
def test_a_connection_is_a_string_or_a_kubeconfig(connection, kind, stored):
    spec = ClusterSpec.model_validate({"connection": connection})
    assert spec.connection.kind == kind
    assert spec.as_json() == {"connection": stored}


def test_a_stored_spec_omits_defaults_and_round_trips():
    given = {
        "template": "probes",
        "kind": "blackbox",
        "severity": "warning",
        "timeouts": {"start": "60s", "run": "2m"},
        "parameters": {"A": "1"},
    }
    spec = ProbeCaseSpec.model_validate(given)
    stored = spec.as_json()
    assert stored == {"template": "probes", "kind": "blackbox", "timeouts": {"run": "2m"}, "parameters": {"A": "1"}}
    assert ProbeCaseSpec.model_validate(stored) == spec


def test_an_explicit_selector_of_all_clusters_is_stored():
    given = {"cases": ["a"], "clusters": {"selector": {}}, "on": {"change": {"component": "coredns"}}}
    assert BindingSpec.model_validate(given).as_json() == given


def test_specs_are_frozen():
    spec = ProbeTemplateSpec.model_validate({"image": "a"})
    with pytest.raises(ValidationError):
        spec.image = "b"


def test_the_most_specific_value_is_used():
    config = RenderConfigSpec.model_validate(
        {
            "for": "http",
            "values": {"URL": "base", "A": "base"},
            "overrides": [
                {"cluster": "prod-1", "values": {"URL": "cluster"}},
                {"clusterSelector": {"matchLabels": {"region": "eu"}}, "values": {"URL": "eu", "B": "eu"}},
                {"clusterSelector": {"matchLabels": {"wave": "1"}}, "values": {"B": "wave", "C": "wave"}},
            ],
        }
    )
    labels = {"region": "eu", "wave": "1"}
    assert config.values_for("prod-1", labels) == {"URL": "cluster", "A": "base", "B": "wave", "C": "wave"}
    assert config.values_for("prod-2", labels) == {"URL": "eu", "A": "base", "B": "wave", "C": "wave"}
    assert config.values_for("prod-2", {}) == {"URL": "base", "A": "base"}


@pytest.mark.parametrize(
    "pod",
    [
        {"containers": [{"name": "probe", "terminationMessagePath": "/x"}]},
        {"containers": [{"name": "probe", "restartPolicy": "Always"}]},
        {"containers": [{"name": "b", "image": "c", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]},
        {"initContainers": [{"name": "b", "image": "c", "restartPolicyRules": [{"action": "Restart"}]}]},
        {"containers": [{"name": "probe", "env": [{"name": "KUBEPROBE_RUN_ID", "value": "x"}]}]},
        {"containers": "x"},
        {"activeDeadlineSeconds": 5},
        {"containers": [None]},
        {"containers": None},
        {"containers": [{"name": "probe", "env": "A=1"}]},
        {"containers": [{"name": "b", "volumeMounts": [{"name": "tmp"}]}]},
    ],
)
def test_a_template_cannot_override_what_a_run_depends_on(pod):
    with pytest.raises(ValidationError):
        ProbeTemplateSpec.model_validate({"image": "a", "pod": pod})


@pytest.mark.parametrize("sample", [0, -1, "3", "some", True, None, 2.5])
def test_a_sample_of_nodes_is_a_positive_number_or_all(sample):
    with pytest.raises(ValidationError, match=r"such as 3, or all"):
        NodeChoice.model_validate({"sample": sample})


def test_cordoned_nodes_are_skipped_unless_a_binding_probes_them():
    choice = NodeChoice.model_validate({})
    assert choice.size is None
    assert choice.matches({}, cordoned=False)
    assert not choice.matches({}, cordoned=True)
    assert NodeChoice.model_validate({"cordoned": "probe"}).matches({}, cordoned=True)


@pytest.mark.parametrize("nodes", [{}, {"sample": 3}, {"selector": {"matchLabels": {"a": "b"}}, "cordoned": "probe"}])
def test_nodes_are_stored_as_they_were_written(nodes):
    spec = {"cases": ["c"], "clusters": {"selector": {}}, "on": {"periodic": {"every": "5m"}}, "nodes": nodes}
    assert BindingSpec.model_validate(spec).as_json()["nodes"] == nodes


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("key", ["kubeprobe.io/run", "probes.kubeprobe.io/x", "app.kubernetes.io/managed-by"])
def test_a_template_cannot_set_kubeprobes_own_labels_and_annotations(field: str, key: str) -> None:
    with pytest.raises(ValidationError, match=f"'{key}' is reserved for KubeProbe"):
        ProbeTemplateSpec.model_validate({"image": "i", field: {key: "x"}})


def test_a_template_can_set_valid_labels_and_annotations() -> None:
    given = {"labels": {"notkubeprobe.io/team": "a"}, "annotations": {"note": "any text, however odd: ü"}}
    found = ProbeTemplateSpec.model_validate({"image": "i", **given})
    assert (found.labels, found.annotations) == (given["labels"], given["annotations"])
    for wrong in ({"labels": {"team": "two words"}}, {"labels": {"-": "x"}}, {"annotations": {"note": 1}}):
        with pytest.raises(ValidationError):
            ProbeTemplateSpec.model_validate({"image": "i", **wrong})
    with pytest.raises(ValidationError, match="at most 204800 bytes"):
        ProbeTemplateSpec.model_validate({"image": "i", "annotations": {"note": "x" * 300_000}})
