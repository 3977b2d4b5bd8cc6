"""The reference (docs/catalog.md) and the examples are valid and complete."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from kubeprobe.catalog import json_schema, parse
from kubeprobe.catalog.model import DOCUMENTS, BindingSpec

REPOSITORY = Path(__file__).parents[3]
REFERENCE = REPOSITORY / "docs" / "catalog.md"
EXAMPLES = REPOSITORY / "kubeprobe" / "catalog" / "examples" / "local"
PROBES = sorted((REPOSITORY / "probes").glob("*/catalog.yaml"))
NEED_PARAMETERS = {"etcd-backup", "etcd-crud", "federation-link", "image-pull", "virtual-cluster"}
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", REFERENCE.read_text(), re.MULTILINE | re.DOTALL)


def documents(text):
    return [found for found in YAML(typ="safe", pure=True).load_all(text) if found]


@pytest.fixture(scope="module")
def validator():
    return Draft202012Validator(json_schema())


@pytest.fixture
def reference(tmp_path):
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"{number}.yaml").write_text(block)
    return tmp_path


def test_the_reference_contains_every_kind_and_parses(reference):
    assert {kind for kind, _ in parse([reference]).entries} == set(DOCUMENTS)


def test_the_reference_contains_every_field_of_a_spec():
    written = {(found["kind"], field) for block in BLOCKS for found in documents(block) for field in found["spec"]}
    for kind, model in DOCUMENTS.items():
        spec = model.model_fields["spec"].annotation
        missing = {field.alias for field in spec.model_fields.values() if (kind, field.alias) not in written}
        assert missing == set(), kind


def test_the_examples_parse_together_with_the_built_in_catalogs():
    found = parse([*PROBES, EXAMPLES, EXAMPLES.parent / "built-in"])
    assert found.names("Cluster") == {"local"}
    assert {"pod-lifecycle", "certificate-expiry"} <= found.names("ProbeCase")


def test_every_built_in_case_that_needs_no_parameters_is_bound():
    found = parse([*PROBES, EXAMPLES.parent / "built-in"])
    bound = {case for binding in found.specs("Binding", BindingSpec).values() for case in binding.cases}
    assert found.names("ProbeCase") - bound == NEED_PARAMETERS


@pytest.mark.parametrize(
    "file", [*PROBES, *sorted(EXAMPLES.glob("*.yaml"))], ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_every_example_matches_the_schema(validator, file):
    for found in documents(file.read_text()):
        assert list(validator.iter_errors(found)) == []


def test_everything_in_the_reference_matches_the_schema(validator):
    for block in BLOCKS:
        for found in documents(block):
            assert list(validator.iter_errors(found)) == []
