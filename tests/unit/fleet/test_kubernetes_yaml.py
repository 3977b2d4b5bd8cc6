"""YAML is read as kubectl reads it, in time and memory that are linear in its size."""

import re
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.fleet import kubernetes_yaml
from kubeprobe.fleet.kubernetes_yaml import MAX_DEPTH, KubernetesYamlError, parse_yaml

PRINTABLE = st.characters(categories=("L", "N", "P", "S", "Zs"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(PRINTABLE, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("y", True),
        ("yEs", "yEs"),
        ("'no'", "no"),
        ("~", None),
        ("", None),
        ("# only a comment", None),
        ("0400", 256),
        ("-0x1F", -31),
        ("0b101", 5),
        ("+1_000", 1000),
        ("08", 8.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".5_0", 0.5),
        (".5_", ".5_"),
        ("1.0", 1.0),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("9" * 400, "9" * 400),
        ("12:30:45", "12:30:45"),
        ("2026-11-30", "2026-11-30"),
        ("!!str 1", "1"),
        ("!!float 1", 1),
        ("!!binary aGk=", "hi"),
        ("!mine 1", "1"),
        ("{1: a, yes: b, 1.5: c, 1e3: d}", {"1": "a", "true": "b", "1.5": "c", "1000": "d"}),
        ("{a: 1, a: 2}", {"a": 2}),
        ("{a: 1, <<: {a: 2, b: 3}}", {"a": 2, "b": 3}),
        ("{<<: {a: 2, b: 3}, a: 1}", {"a": 1, "b": 3}),
        ("{<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ('{"<<": {a: 2}}', {"<<": {"a": 2}}),
        ("[&x {a: 1}, *x, &x 2, *x]", [{"a": 1}, {"a": 1}, 2, 2]),
        ("{&k a: *k }", {"a": "a"}),
        ("a\n---\nb", "a"),
    ],
)
def test_scalars_have_the_types_of_yaml_1_1(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", r"is not YAML \(line \d\)$"),
        ("\x01", "is not YAML"),
        ("a: b: c", r"is not YAML \(line 1\)"),
        ("[.nan]", "which JSON cannot hold"),
        ("!!int yes", "is not a !!int"),
        ("!!binary '%'", "is not base64"),
        ("&a [*a]", "an alias to an unknown anchor"),
        ("{*k : 1}", "an alias to an unknown anchor"),
        ("{[a]: b}", "as a key; expected text"),
        ("{~: b}", "a key that is not text"),
        ("{<<: 1}", r"merges \(<<\) what is not a mapping"),
        ("\n\n- &a [" + "[" * MAX_DEPTH, rf"is nested more than {MAX_DEPTH} levels deep \(line 3\)"),
    ],
)
def test_the_rest_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(KubernetesYamlError) as caught:
        parse_yaml(text)
    assert re.search(problem, str(caught.value))


@given(JSON)
def test_json_is_read_alike_whether_or_not_it_is_parsed_as_yaml(value: Any) -> None:
    text = orjson.dumps(value).decode()
    assert parse_yaml(text) == value
    assert parse_yaml(f"{text} # not JSON") == value


@given(st.text(st.sampled_from("[]{}&*a: \n-!|>'\"#?%@`<0.~"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(KubernetesYamlError):
        orjson.dumps(parse_yaml(text))


@pytest.mark.parametrize(
    "piece", ["- a\n", "[", "{a: ", "- ", "? a\n", "&a ", "*a ", "!!a ", "- &a b\n- *a\n", "'\n", "\t"]
)
def test_work_is_bounded(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text is, no more values are read than the limit, and none too deep."""
    monkeypatch.setattr(kubernetes_yaml, "MAX_VALUES", 1_000)
    seen = 0

    def count(*arguments: Any, **more: Any) -> Any:
        nonlocal seen
        for event in events(*arguments, **more):
            seen += 1
            yield event

    events = kubernetes_yaml.yaml.parse
    monkeypatch.setattr(kubernetes_yaml.yaml, "parse", count)
    with suppress(KubernetesYamlError):
        parse_yaml(piece * 1_000_000)
    assert 0 < seen < 4_000
