"""Label selectors: what Kubernetes accepts, what it rejects and where, and the round trip of their text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.selectors import Operator, Requirement, Selector, SelectorError, parse_selector, selector_from

EU = {"region": "eu", "wave": "1", "tier": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("  ", True),
        ("region=eu", True),
        ("region==eu", True),
        ("region = eu , wave = 1", True),
        ("region=us", False),
        ("region!=us", True),
        ("region!=eu", False),
        ("absent!=x", True),
        ("region in (us, eu)", True),
        ("region in (us)", False),
        ("absent in (us)", False),
        ("region notin (us,ap)", True),
        ("region notin (eu)", False),
        ("absent notin (eu)", True),
        ("region", True),
        ("absent", False),
        ("!absent", True),
        ("! region", False),
        ("tier=", True),
        ("tier in ()", True),
        ("region,wave in (1,2),!absent", True),
        ("region,wave in (1,2),absent", False),
        ("in in (notin)", False),
        ("notin notin (in)", True),
        ("example.com/region!=eu", True),
    ],
)
def test_a_selector_matches_as_in_kubernetes(text: str, matches: bool) -> None:  # noqa: FBT001
    assert parse_selector(text).matches(EU) is matches


@pytest.mark.parametrize(
    ("text", "character", "reason"),
    [
        ("region=eu,", 11, "a label key, found the end"),
        (",region", 1, "a label key, found ','"),
        ("region eu", 8, "expected =, ==, !=, in, notin"),
        ("region>1", 7, "expected =, ==, !=, in, notin"),
        ("region in eu", 11, "a value list like (a, b), found 'e'"),
        ("region in (eu", 14, "a comma or ), found the end"),
        ("region in (eu us)", 15, "a comma or ), found 'u'"),
        ("region=eu wave=1", 11, "a comma, or the end, found 'w'"),
        ("region=-eu", 8, "label value '-eu'"),
        ("Region_=eu", 1, "label key 'Region_'"),
        ("A.b/c=eu", 1, "the prefix of label key"),
        ("a, b=" + "x" * 64, 6, "label value"),
        ("!region=eu", 8, "a comma, or the end"),
    ],
)
def test_an_invalid_selector_is_an_error_with_its_position(text: str, character: int, reason: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.position + 1 == character, str(caught.value)
    assert reason in str(caught.value)


def test_match_labels_and_expressions_must_all_match() -> None:
    selector = selector_from(
        {"region": "eu"},
        [
            {"key": "wave", "operator": "In", "values": ["2", "1"]},
            {"key": "absent", "operator": "DoesNotExist"},
            {"key": "tier", "operator": "NotIn", "values": ["gold"]},
            {"key": "tier", "operator": "Exists"},
        ],
    )
    assert str(selector) == "region=eu,wave in (1,2),!absent,tier!=gold,tier"
    assert selector.matches(EU)
    assert not selector.matches(EU | {"wave": "3"})


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (
            {"key": "a", "operator": "in", "values": ["b"]},
            "matchExpressions[0].operator: unknown operator 'in'. Known: DoesNotExist, Exists, In, NotIn.",
        ),
        ({"key": "a", "operator": "In"}, "matchExpressions[0].values: In needs at least one value"),
        ({"key": "a", "operator": "Exists", "values": ["b"]}, "matchExpressions[0].values: Exists takes no values"),
        ({"key": "a", "operator": "In", "values": [1]}, "put it in quotes"),
        ({"operator": "Exists"}, "matchExpressions[0].key"),
    ],
)
def test_an_invalid_expression_is_an_error_with_its_path(expression: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        selector_from(None, [expression])
    assert reason in str(caught.value)


def test_an_invalid_match_label_is_an_error_with_its_key() -> None:
    with pytest.raises(InvalidInputError, match=r"matchLabels\['a'\]: label value True is not a string"):
        selector_from({"a": True})  # type: ignore[dict-item]


ANY_MACHINE = settings(deadline=None, max_examples=50)
names = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)
keys = st.one_of(names, names.map(lambda name: f"example.com/{name}"))
values = st.one_of(st.just(""), names)
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
    st.builds(
        Requirement,
        keys,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sets(values, min_size=1, max_size=4).map(lambda found: tuple(sorted(found))),
    ),
)
selectors = st.lists(requirements, max_size=5).map(lambda found: Selector(tuple(found)))
label_sets = st.dictionaries(keys, values, max_size=4)


@ANY_MACHINE
@given(selectors)
def test_the_text_of_a_selector_parses_to_the_same_selector(selector: Selector) -> None:
    assert parse_selector(str(selector)) == selector


@ANY_MACHINE
@given(selectors, label_sets)
def test_a_selector_and_its_negated_requirements_never_both_match(selector: Selector, labels: dict[str, str]) -> None:
    opposite = {
        Operator.IN: Operator.NOT_IN,
        Operator.NOT_IN: Operator.IN,
        Operator.EXISTS: Operator.DOES_NOT_EXIST,
        Operator.DOES_NOT_EXIST: Operator.EXISTS,
    }
    negated = [Requirement(r.key, opposite[r.operator], r.values) for r in selector.requirements]
    assert selector.matches(labels) is not any(requirement.matches(labels) for requirement in negated)


@ANY_MACHINE
@given(st.text(alphabet="ab=!,() in<>-./\t", max_size=20))
def test_any_text_parses_or_is_an_error_with_a_position_in_the_text(text: str) -> None:
    try:
        parse_selector(text)
    except SelectorError as error:
        refused_at = error.position
    else:
        refused_at = 0
    assert 0 <= refused_at <= len(text)
