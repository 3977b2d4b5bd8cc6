"""Any value anywhere in a document is accepted, or rejected with its location; the parser never crashes."""

import json
import re
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


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_is_accepted_or_rejected(tmp_path, text):
    file = tmp_path / "one.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    entries, _ = read(file)
    assert entries == []


def test_the_schema_is_one_json_document():
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("document", DOCUMENTS_OF_REFERENCE, ids=lambda found: found["metadata"]["name"])
def test_a_spec_round_trips_through_json(tmp_path, document):
    file = tmp_path / "one.yaml"
    file.write_text(json.dumps(document))
    for entry in parse([file], KNOWN).entries.values():
        stored = json.loads(json.dumps(entry.spec.as_json()))
        assert type(entry.spec).model_validate(stored) == entry.spec
