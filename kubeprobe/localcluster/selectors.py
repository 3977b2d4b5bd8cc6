"""Label and field selectors: from the text of a query to a predicate on objects.

Pure. Used by lists, watches and collection deletes in `http`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from kubeprobe.localcluster.errors import bad_request
from kubeprobe.localcluster.objects import Object

Predicate = Callable[[Object], bool]
_LabelTest = Callable[[dict[str, str]], bool]

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9_./-]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9_.-]*"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALITY = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*({_VALUE})$")
_COMPARISON = re.compile(rf"^({_KEY})\s*(>|<)\s*(-?\d+)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^()]*\))")

# The fields that the API server indexes, per kind; every kind has the two of metadata.
_FIELDS: dict[str, frozenset[str]] = {
    "Pod": frozenset(
        {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"}
        | {"status.phase", "status.podIP", "status.nominatedNodeName"}
    ),
    "Event": frozenset(
        {f"involvedObject.{f}" for f in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")}
        | {"reason", "type", "source", "reportingComponent"}
    ),
    "Namespace": frozenset({"status.phase"}),
    "Node": frozenset({"spec.unschedulable"}),
    "Secret": frozenset({"type"}),
}


def label_selector(text: str) -> Predicate | None:
    """The predicate of a labelSelector; None when it selects everything.

    Raises `ApiError` (400) for an invalid selector.
    """
    parts = [part.strip() for part in _COMMA_OUTSIDE_PARENTHESES.split(text) if part.strip()]
    if not parts:
        return None
    tests = [_label_test(part) for part in parts]

    def matches(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _label_test(part: str) -> _LabelTest:
    if found := _SET.match(part):
        key, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUALITY.match(part):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _COMPARISON.match(part):
        key, operator, bound = found.groups()
        return lambda labels: _compare(labels.get(key), operator, int(bound))
    if found := _EXISTS.match(part):
        absent, key = found.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise bad_request(f'unable to parse requirement: found "{part}", expected: a label selector')


def _compare(value: str | None, operator: str, bound: int) -> bool:
    if value is None or not re.fullmatch(r"-?\d+", value):
        return False
    return int(value) > bound if operator == ">" else int(value) < bound


def field_selector(text: str, kind: str) -> Predicate | None:
    """The predicate of a fieldSelector on objects of this kind; None when it selects everything.

    Raises `ApiError` (400) for a field that the real API server does not support either.
    """
    tests: list[tuple[list[str], bool, str]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        found = re.match(r"^([\w.]+)\s*(==|=|!=)\s*(.*)$", part)
        if not found:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        field, operator, value = found.groups()
        _check_field(field, kind)
        tests.append((field.split("."), operator != "!=", value))
    if not tests:
        return None
    return lambda obj: all((_at(obj, path) == value) is equal for path, equal, value in tests)


def _check_field(field: str, kind: str) -> None:
    if field in ("metadata.name", "metadata.namespace") or field in _FIELDS.get(kind, ()):
        return
    if kind in _FIELDS:
        raise bad_request(f"field label not supported: {field}")
    known = '"metadata.name", "metadata.namespace"'
    raise bad_request(f'"{field}" is not a known field selector: only {known}')


def _at(obj: Object, path: Iterable[str]) -> str:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """The conjunction of two predicates."""
    if first is None or second is None:
        return first or second
    return lambda obj: first(obj) and second(obj)
