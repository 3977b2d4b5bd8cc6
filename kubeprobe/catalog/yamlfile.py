"""Reading YAML with the line of every value, for error messages. Next: `parse` makes models of it."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode, SequenceNode

from kubeprobe.catalog.problems import CatalogProblem

YamlPath = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_MAX_VALUES = 200_000
"""In one document; aliases of aliases could otherwise exhaust memory."""
_MAX_DEPTH = 100
"""Far more than Kubernetes' own types have, and less than JSON serializers and comparisons support."""


def _whole_number(text: str) -> int:
    digits = text.replace("_", "").lower()
    prefixed = digits.lstrip("+-").startswith(("0x", "0o", "0b"))
    return int(digits, 0) if prefixed else int(digits)


def _number(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "null": lambda _: None,
        "bool": lambda text: text.lower() == "true",
        "int": _whole_number,
        "float": _number,
        "str": str,
        "timestamp": str,
    }
)
"""How YAML's own tags are read; a timestamp stays a string, as no field is one."""


_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")
"""NUL, which PostgreSQL rejects in text and JSON, and surrogates, which cannot be encoded as UTF-8."""
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
"""The range of the JSON serializer."""


def _storage_problem(value: Any) -> tuple[str, str] | None:
    """Why a scalar cannot be stored, and what was expected; None if it can."""
    if isinstance(value, str) and (found := _UNSTORABLE.search(value)):
        return f"the text contains the character {found[0]!r}", "text without NUL and surrogate characters"
    if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
        return "the number exceeds 64 bits", "a smaller number, or a string in quotes"
    if isinstance(value, float) and not isfinite(value):
        return f"{value} is not a JSON number", "a finite number, or a string in quotes"
    return None


class _TooDeepError(Exception):
    """The document is nested too deeply, at this line."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True)
class RawDocument:
    """One YAML document as plain values, with the line of each."""

    file: str
    folder: Path
    """Base of relative paths in it."""
    line: int
    value: Any
    lines: dict[YamlPath, int] = field(repr=False)
    problems: tuple[CatalogProblem, ...] = ()
    """Problems of the YAML itself, such as duplicate keys."""

    def line_of(self, path: YamlPath) -> int:
        """The line of a value; if it is absent, that of the closest mapping or list around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def read_documents(file: Path, shown: str) -> Iterator[RawDocument | CatalogProblem]:
    """The non-empty documents of a file; a problem in place of the first that is not valid YAML."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        yield CatalogProblem(shown, 1, "", "", f"the file cannot be read: {reason}", expected="YAML in UTF-8")
        return
    try:
        for node in YAML(typ="safe", pure=True).compose_all(text):
            if node is None or _is_empty(node):
                continue
            reader = _Reader(shown, node)
            yield RawDocument(shown, file.parent, _line(node), reader.value, reader.lines, tuple(reader.problems))
    except _TooDeepError as error:
        yield _too_deep(shown, error.line)
    except RecursionError:  # raised by the YAML parser, at an unknown line
        yield _too_deep(shown, 1)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        message = ", ".join(part for part in (error.problem, error.context) if part) or "it cannot be parsed"
        yield CatalogProblem(shown, line, "", "", f"YAML: {message}", expected="valid YAML 1.2")
    except YAMLError as error:
        yield CatalogProblem(shown, 1, "", "", f"YAML: {' '.join(str(error).split())}", expected="valid YAML 1.2")


def _too_deep(shown: str, line: int) -> CatalogProblem:
    return CatalogProblem(shown, line, "", "", "YAML: nested too deeply", expected=f"at most {_MAX_DEPTH} levels")


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}null"


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1


class _Reader:
    """Converts the nodes of one document to plain values, and records their lines."""

    def __init__(self, file: str, node: Node) -> None:
        self.file = file
        self.lines: dict[YamlPath, int] = {}
        self.problems: list[CatalogProblem] = []
        self._left = _MAX_VALUES
        self._within: set[int] = set()
        self.value = self._read(node, ())

    def _read(self, node: Node, path: YamlPath) -> Any:
        if len(path) > _MAX_DEPTH:
            raise _TooDeepError(_line(node))
        self.lines.setdefault(path, _line(node))
        self._left -= 1
        if id(node) in self._within or self._left < 0:
            message = f"an alias contains itself, or aliases expand to more than {_MAX_VALUES:,} values"
            self._problem(node, path, message, "plain values")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._within.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self._read(item, (*path, number)) for number, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._within.discard(id(node))

    def _mapping(self, node: Node, path: YamlPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                sources = value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                for source in reversed(sources):
                    base = self._read(source, path) or {}
                    if isinstance(base, dict):
                        merged |= base
                    else:
                        self._problem(source, path, "<< merges a value that is not a mapping", "a mapping")
                continue
            if not isinstance(key_node, ScalarNode):
                self._problem(key_node, path, "a key is a mapping or a list", "a string as key")
                continue
            key: str = key_node.value
            if problem := _storage_problem(key):
                self._problem(key_node, path, *problem)
                continue
            here = (*path, key)
            if key in first:
                self._problem(key_node, here, f"duplicate key {key!r}, first in line {first[key]}", "each key once")
                continue
            first[key] = self.lines[here] = _line(key_node)
            found[key] = self._read(value_node, here)
        return merged | found

    def _scalar(self, node: ScalarNode, path: YamlPath) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        if kind not in _SCALARS:
            self._problem(node, path, f"the tag {node.tag} is not supported", "plain values")
            return None
        try:
            value = _SCALARS[kind](node.value)
        except ValueError:
            value = node.value
        if problem := _storage_problem(value):
            self._problem(node, path, *problem)
            return _UNSTORABLE.sub("?", value) if isinstance(value, str) else None
        return value

    def _problem(self, node: Node, path: YamlPath, message: str, expected: str) -> None:
        shown = show_path(path)
        self.problems.append(CatalogProblem(self.file, _line(node), "", shown, message, expected=expected))


def show_path(path: YamlPath) -> str:
    """`spec.cases[0]`."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + part
    return shown
