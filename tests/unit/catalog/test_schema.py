"""The JSON Schema for editors: accepts all valid documents, rejects most invalid ones."""

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from kubeprobe.catalog import json_schema
from kubeprobe.catalog.model import DOCUMENTS
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, document


@pytest.fixture(scope="module")
def validator():
    Draft202012Validator.check_schema(json_schema())
    return Draft202012Validator(json_schema())


def read(text):
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("text", [TEMPLATE, CASE, BINDING, CLUSTER])
def test_valid_documents_match_the_schema(validator, text):
    assert list(validator.iter_errors(read(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "just text",
        CASE.replace("v1", "v2"),
        CASE.replace("ProbeCase", "Probecase"),
        CASE.replace("template:", "templat:"),
        CASE.replace("blackbox", "blackbx"),
        CASE.replace("pod-lifecycle", "Pod_Lifecycle"),
        BINDING.replace("5m", "5 minutes"),
        BINDING.replace("5m", "5"),
        CLUSTER.replace("local", "elsewhere"),
        CLUSTER.replace("eu", "1"),
        document("ProbeTemplate", "{image: a, env: {my-name: a}}"),
        document("ProbeTemplate", "{image: a, env: {KUBEPROBE_CASE: a}}"),
        document("AlertRoute", "{targets: []}"),
        "apiVersion: kubeprobe.io/v1\nkind: Binding\n",
    ],
)
def test_invalid_documents_do_not_match_the_schema(validator, text):
    assert list(validator.iter_errors(read(text)))


def test_a_kubeconfig_connection_matches_the_schema(validator):
    given = document("Cluster", "{connection: {kubeconfig: {file: k, context: c}}}")
    assert list(validator.iter_errors(read(given))) == []


def test_every_kind_and_every_field_has_a_description(validator):
    schema = json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(DOCUMENTS)
    undescribed = [name for name, model in schema["$defs"].items() if not model.get("description")]
    assert undescribed == []
