"""Any value anywhere in a document is accepted, or rejected with its location; the parser never crashes."""

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from kubeprobe.catalog import Catalog, CatalogError, RunIdentity, json_schema, parse, render_pod
from kubeprobe.catalog.model import DOCUMENTS, ProbeCaseSpec, ProbeTemplateSpec

REFERENCE = Path(__file__).parents[3] / "docs" / "catalog.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", REFERENCE.read_text(), re.MULTILINE | re.DOTALL)
DOCUMENTS_OF_REFERENCE = [found for block in BLOCKS for found in YAML(typ="safe", pure=True).load_all(block) if found]
KNOWN = {kind: frozenset({"shop-front", "http-endpoint", "prod-1", "nothing", "rules"}) for kind in DOCUMENTS}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text("a-Z 5m*.{", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "key", "a", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value, path=()):
    """All paths in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def with_value(value, path, new):
    """The document with another value at one path."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_value(value[path[0]], path[1:], new)
    return changed


def read(file):
    """The entries of a file, and its problems."""
    try:
        return list(parse([file], KNOWN).entries.values()), ()
    except CatalogError as error:
        return [], error.problems


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_any_value_anywhere_is_accepted_or_rejected_with_its_location(tmp_path, data):
    document = data.draw(st.sampled_from(DOCUMENTS_OF_REFERENCE))
    place = data.draw(st.sampled_from(list(places(document))[1:]))
    file = tmp_path / "one.yaml"
    file.write_text(json.dumps(with_value(document, place, data.draw(values)), indent=1))
    entries, problems = read(file)
    assert bool(entries) != bool(problems)
    assert all(problem.line >= 1 and problem.message for problem in problems)
    for entry in entries:
        assert type(entry.spec).model_validate(entry.spec.as_json()) == entry.spec
        if isinstance(entry.spec, ProbeTemplateSpec):
            case = ProbeCaseSpec.model_validate({"template": "t", "kind": "blackbox"})
            pod = render_pod(Catalog(1, {"t": entry.spec}, {"c": case}), RunIdentity("r", "i", "c", "x", "manual"))
            assert pod["spec"]["containers"][0]["name"] == "probe"


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.text(max_size=60))
def test_any_text_is_accepted_or_rejected(tmp_path, text):
    file = tmp_path / "one.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    entries, _ = read(file)
    assert entries == []


TEMPLATE = "apiVersion: kubeprobe.io/v1\nkind: ProbeTemplate\nmetadata: {{name: t}}\nspec: {{image: a, {}}}\n"
RULE = """\
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {{name: c}}
spec: {{template: nothing, kind: inspection, rules: [{{resource: v1/pods, expect: "true", message: "{}"}}]}}
"""


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("<<: 5", "not a mapping"),
        ("<<: abc", "not a mapping"),
        ("<<: [[1, 2]]", "not a mapping"),
        ("pod: {priority: 99999999999999999999}", "64 bits"),
        ("tolerations: [{tolerationSeconds: -99999999999999999999}]", "64 bits"),
        ("pod: {priority: .nan}", "not a JSON number"),
        ("pod: {priority: -.inf}", "not a JSON number"),
        (r'env: {A: "a\0b"}', r"'\x00'"),
        (r'env: {"A\0": b}', r"'\x00'"),
        (r'pod: {hostname: "\ud800"}', r"'\ud800'"),
    ],
)
def test_a_value_that_cannot_be_stored_is_rejected_with_its_line(tmp_path, field, message):
    file = tmp_path / "one.yaml"
    file.write_text(TEMPLATE.format(field))
    entries, problems = read(file)
    assert entries == []
    assert any(message in problem.message and problem.line == 4 for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 200_000 + "a: [",
        TEMPLATE.format("args: [") + "{{" * 100_000,
        RULE.format("{{" * 100_000),
    ],
    ids=["blank lines", "braces", "message"],
)
def test_large_invalid_input_is_rejected_in_linear_time(tmp_path, text):
    file = tmp_path / "one.yaml"
    file.write_text(text)
    started = time.process_time()
    entries, _ = read(file)
    assert entries == []
    assert time.process_time() - started < 20


def test_the_schema_is_one_json_document():
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("document", DOCUMENTS_OF_REFERENCE, ids=lambda found: found["metadata"]["name"])
def test_a_spec_round_trips_through_json(tmp_path, document):
    file = tmp_path / "one.yaml"
    file.write_text(json.dumps(document))
    for entry in parse([file], KNOWN).entries.values():
        stored = json.loads(json.dumps(entry.spec.as_json()))
        assert type(entry.spec).model_validate(stored) == entry.spec
