"""A template's `pod` against Kubernetes' own schema of PodSpec, which `__main__` generates.

An API server drops unknown fields without an error, so that a misspelt `volumeMounts` is found only by a probe that
fails. Next: `parse` adds file and line to the problems.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

from kubeprobe.catalog.merge import MERGE_KEYS
from kubeprobe.catalog.problems import nearest_name, one_of, shorten

SCHEMA = resources.files(__package__) / "schema.json"
Path = tuple[str | int, ...]
_QUANTITY = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([munkMGTPE]|[KMGTPE]i|[eE][-+]?\d+)?")
_RANGES = {"int32": 2**31, "int64": 2**63}
_NEED_AN_IMAGE = ("containers", "initContainers")
"""Not required by the schema, but by the API server."""


class PodProblem(NamedTuple):
    """What is wrong at a path of a partial PodSpec."""

    path: Path
    message: str
    expected: str
    nearest: str = ""


def check_pod(pod: Mapping[str, Any], merged: Mapping[str, Any], ignored: Collection[str] = ()) -> Iterator[PodProblem]:
    """The problems of a partial PodSpec, which gives `merged` when it is merged over KubeProbe's own.

    `ignored`: names of fields of newer versions of Kubernetes, which are not checked. A field that the schema has is
    always checked: `policy` and `render` rely on its type.
    """
    return _Checker(_schema(), frozenset(ignored)).check_type("PodSpec", pod, merged, ())


@dataclass(frozen=True)
class _Schema:
    types: Mapping[str, Mapping[str, Any]]
    about: str
    """The versions of Kubernetes that it was made from."""


@cache
def _schema() -> _Schema:
    found = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return _Schema(MappingProxyType(found["types"]), f"Kubernetes {found['version']} or client {found['client']}")


@dataclass(frozen=True)
class _Checker:
    schema: _Schema
    ignored: frozenset[str]

    def check_type(self, name: str, value: Any, merged: Any, path: Path) -> Iterator[PodProblem]:
        """The problems of a value that has to be of a type of the schema."""
        if not isinstance(value, Mapping):
            yield _wrong(value, path, "a mapping")
            return
        described = self.schema.types[name]
        fields: Mapping[str, Any] = described["fields"]
        missing = {field for field in described.get("required", ()) if _is_absent(merged, field)}
        for field, item in value.items():
            here = (*path, field)
            if item is None or (field not in fields and field in self.ignored):
                continue
            if field not in fields:
                near = nearest_name(field, fields)
                missing.discard(near)
                expected = (
                    f"{one_of(sorted(fields), most=6)} ({name} of {self.schema.about}; "
                    "list fields of newer versions in extraPodFields)"
                )
                yield PodProblem(here, f"unknown field {shorten(repr(field))} of {name}", expected, near)
                continue
            yield from self._check(
                fields[field], item, merged.get(field) if isinstance(merged, Mapping) else None, here
            )
        for field in sorted(missing):
            yield PodProblem((*path, field), "this field is missing", f"{field}, which {name} requires")

    def _check(self, kind: Any, value: Any, merged: Any, path: Path) -> Iterator[PodProblem]:
        if isinstance(kind, str):
            yield from _check_scalar(kind, value, path)
        elif "ref" in kind:
            yield from self.check_type(kind["ref"], value, merged, path)
        elif "enum" in kind:
            yield from _check_enum(kind["enum"], value, path)
        elif "list" in kind:
            yield from self._check_list(kind["list"], value, merged, path)
        else:
            yield from self._check_map(kind["map"], value, path)

    def _check_map(self, kind: Any, value: Any, path: Path) -> Iterator[PodProblem]:
        if not isinstance(value, Mapping):
            yield _wrong(value, path, "a mapping")
            return
        for key, item in value.items():
            yield from self._check(kind, item, item, (*path, key))

    def _check_list(self, kind: Any, value: Any, merged: Any, path: Path) -> Iterator[PodProblem]:
        if not isinstance(value, list | tuple):
            yield _wrong(value, path, "a list")
            return
        field = str(path[-1])
        key = MERGE_KEYS.get(field)
        by_key = {item.get(key): item for item in merged or () if isinstance(item, Mapping)} if key else {}
        seen: set[Any] = set()
        for number, item in enumerate(value):
            here = (*path, number)
            whole = item
            if key and isinstance(item, Mapping) and isinstance(identity := item.get(key), str):
                whole = by_key.get(identity, item)
                if identity in seen:
                    yield PodProblem(here, f"{key} {shorten(repr(identity))} is listed twice", f"each {key} once")
                seen.add(identity)
            if field in _NEED_AN_IMAGE and _is_absent(whole, "image"):
                yield PodProblem((*here, "image"), "this field is missing", "the container's image")
            yield from self._check(kind, item, whole, here)


def _is_absent(value: Any, field: str) -> bool:
    return isinstance(value, Mapping) and value.get(field) is None


def _check_enum(allowed: Sequence[str], value: Any, path: Path) -> Iterator[PodProblem]:
    if not isinstance(value, str):
        yield _wrong(value, path, "a string")
    elif value not in allowed:
        near = nearest_name(value, allowed)
        yield PodProblem(path, f"{shorten(repr(value))} is not allowed", one_of(allowed), near)


def _check_scalar(kind: str, value: Any, path: Path) -> Iterator[PodProblem]:
    expected, is_valid = _SCALARS[kind]
    if kind in _RANGES and _is_whole(value) and not -_RANGES[kind] <= value < _RANGES[kind]:
        yield PodProblem(path, f"{value} is out of range", f"an {kind}")
    elif not is_valid(value):
        yield _wrong(value, path, expected)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_quantity(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < 100 and _QUANTITY.fullmatch(value) is not None
    return _is_whole(value) or isinstance(value, float)


_SCALARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "any": ("a value", lambda _: True),
        "boolean": ("true or false", lambda value: isinstance(value, bool)),
        "int-or-string": ("a whole number or a string", lambda value: _is_whole(value) or isinstance(value, str)),
        "int32": ("a whole number", _is_whole),
        "int64": ("a whole number", _is_whole),
        "number": ("a number", lambda value: _is_whole(value) or isinstance(value, float)),
        "quantity": ("a Kubernetes quantity such as 100m, 0.5, 64Mi or 2G", _is_quantity),
        "string": ("a string", lambda value: isinstance(value, str)),
    }
)


def _wrong(value: Any, path: Path, expected: str) -> PodProblem:
    if value is None:
        return PodProblem(path, "the value is missing", expected)
    if isinstance(value, Mapping):
        shown = "a mapping"
    elif isinstance(value, list | tuple):
        shown = "a list"
    elif isinstance(value, bool):
        shown = str(value).lower()
    else:
        shown = shorten(repr(value), 60)
    if expected == "a string" and isinstance(value, bool | int | float):
        expected += f'; put it in quotes: "{shown}"'
    return PodProblem(path, f"{shown} is not {expected.partition(';')[0]}", expected)
