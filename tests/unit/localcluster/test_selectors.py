import pytest

from kubeprobe.localcluster.errors import ApiError
from kubeprobe.localcluster.selectors import both, field_selector, label_selector


def labelled(**labels: str) -> dict:
    return {"metadata": {"name": "x", "labels": labels}}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("a=1", {"a": "1"}, True),
        ("a=1", {"a": "2"}, False),
        ("a==1", {"a": "1"}, True),
        ("a!=1", {}, True),
        ("a!=1", {"a": "1"}, False),
        ("a in (1, 2)", {"a": "2"}, True),
        ("a in (1, 2)", {}, False),
        ("a notin (1,2)", {}, True),
        ("a notin (1,2)", {"a": "1"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("! a", {}, True),
        ("n>5", {"n": "6"}, True),
        ("n<5", {"n": "6"}, False),
        ("n>5", {"n": "many"}, False),
        ("n>5", {}, False),
        ("a=1,b in (x,y),!c", {"a": "1", "b": "y"}, True),
        ("a=1,b in (x,y),!c", {"a": "1", "b": "y", "c": ""}, False),
        ("kubeprobe.io/run=01j", {"kubeprobe.io/run": "01j"}, True),
        ("a=", {"a": ""}, True),
    ],
)
def test_labels_are_selected(selector: str, labels: dict, selected: object) -> None:
    predicate = label_selector(selector)
    assert predicate is not None
    assert predicate(labelled(**labels)) is selected


def test_an_empty_selector_selects_everything() -> None:
    assert label_selector("") is None
    assert label_selector(" , ") is None
    assert field_selector("", "Pod") is None


def test_an_object_without_labels_can_be_selected() -> None:
    predicate = label_selector("!a")
    assert predicate is not None
    assert predicate({"metadata": {"name": "x"}})


@pytest.mark.parametrize("selector", ["a in b", "a b", "=1", "a in (1", "a=b=c", "a in (1) b"])
def test_an_invalid_selector_is_refused(selector: str) -> None:
    with pytest.raises(ApiError) as refused:
        label_selector(selector)
    assert refused.value.code == 400


def test_fields_are_selected() -> None:
    pod = {"metadata": {"name": "x"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    for text, selected in (
        ("status.phase=Running", True),
        ("status.phase!=Running", False),
        ("spec.nodeName==n,metadata.name=x", True),
        ("status.podIP=", True),
    ):
        predicate = field_selector(text, "Pod")
        assert predicate is not None
        assert predicate(pod) is selected, text


def test_booleans_are_selected_as_true_and_false() -> None:
    predicate = field_selector("spec.unschedulable=true", "Node")
    assert predicate is not None
    assert predicate({"metadata": {"name": "n"}, "spec": {"unschedulable": True}})


@pytest.mark.parametrize(("selector", "kind"), [("spec.x=1", "Pod"), ("data=1", "ConfigMap"), ("nonsense", "Pod")])
def test_fields_that_are_not_indexed_are_refused(selector: str, kind: str) -> None:
    with pytest.raises(ApiError) as refused:
        field_selector(selector, kind)
    assert refused.value.code == 400


def test_both_predicates_must_hold() -> None:
    first, second = label_selector("a=1"), label_selector("b=1")
    combined = both(first, second)
    assert combined is not None
    assert combined(labelled(a="1", b="1"))
    assert not combined(labelled(a="1"))
    assert both(first, None) is first
    assert both(None, None) is None
