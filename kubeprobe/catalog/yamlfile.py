"""Reading YAML with the line of every value, for error messages, in time linear in its size. Next: `parse`.

libyaml yields events, one after the other; depth, values and text of a document are counted before they are kept.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from kubeprobe.catalog.problems import CatalogProblem, shorten
from kubeprobe.catalog.scalars import Scalar, read_plain, read_plain_as_kubectl

YamlPath = tuple[str | int, ...]
KubernetesPaths = Mapping[str, Collection[YamlPath]]
"""By kind of document: the paths of Kubernetes objects in it, whose scalars are read as kubectl reads them."""
_TAG = "tag:yaml.org,2002:"
MAX_FILE_BYTES = 20_000_000
"""As much as all files of a source."""
_MAX_VALUES = 50_000
"""In one document; aliases of aliases could otherwise exhaust memory."""
_MAX_TEXT = 1_500_000
"""Characters in one document, aliases expanded: etcd's limit of an object."""
_MAX_DEPTH = 100
"""Far more than Kubernetes' own types have, and less than JSON serializers and comparisons support."""
_MAX_PROBLEMS = 100
"""Of one document's YAML."""
_MAX_TAG_DIRECTIVES = 10
"""libyaml compares each with all others."""
_TAG_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)
_SURROGATE_ESCAPE = re.compile(r"\\u([dD][89a-fA-F][0-9a-fA-F]{2})")
_MARKED_ESCAPE = re.compile(r"\\U000[fF]([dD][89a-fA-F][0-9a-fA-F]{2})|([\U000FD800-\U000FDFFF])")
_MARKED_BY = 0xF0000
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")
"""NUL, which PostgreSQL rejects in text and JSON, and surrogates, which cannot be encoded as UTF-8."""
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
"""The range of the JSON serializer."""
_MAX_FLOAT = float(2**63)
"""Larger ones do not survive PostgreSQL's JSONB as floats, and no field is one."""


class _DocumentError(Exception):
    """The document exceeds a limit."""

    def __init__(self, line: int, message: str, expected: str) -> None:
        super().__init__(message)
        self.line, self.message, self.expected = line, message, expected


class _ScalarNode(NamedTuple):
    line: int
    text: str
    tag: str | None
    """Only if it is explicit."""
    is_plain: bool


class _ListNode(NamedTuple):
    line: int
    items: "list[_Node]"


class _MapNode(NamedTuple):
    line: int
    keys_and_values: "list[_Node]"
    """Alternating."""


_Node: TypeAlias = _ScalarNode | _ListNode | _MapNode


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
    written: Mapping[YamlPath, str] = field(default_factory=dict, repr=False)
    """The text of numbers and booleans that would be written differently, such as `0400` for 256."""

    def line_of(self, path: YamlPath) -> int:
        """The line of a value; if it is absent, that of the closest mapping or list around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def read_text(file: Path) -> str:
    """The text of a file of at most MAX_FILE_BYTES, in UTF-8. Raises ValueError with what is wrong, and OSError."""
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES:,} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    return text.removeprefix("\ufeff")


def read_documents(
    file: Path, shown: str, kubernetes: KubernetesPaths | None = None
) -> Iterator[RawDocument | CatalogProblem]:
    """The non-empty documents of a file; a problem in place of the first that is not valid YAML."""
    try:
        text = read_text(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        yield CatalogProblem(shown, 1, "", "", f"the file cannot be read: {reason}", expected="YAML in UTF-8")
        return
    try:
        for node in _nodes(text):
            if isinstance(node, _ScalarNode) and node.is_plain and read_plain(node.text) is None:
                continue
            reader = _Reader(shown, node, kubernetes or {})
            problems = tuple(reader.problems)
            yield RawDocument(shown, file.parent, node.line, reader.value, reader.lines, problems, reader.written)
    except _DocumentError as error:
        yield CatalogProblem(shown, error.line, "", "", f"YAML: {error.message}", expected=error.expected)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        message = ", ".join(part for part in (error.problem, error.context) if part) or "it cannot be parsed"
        yield CatalogProblem(shown, line, "", "", f"YAML: {shorten(message)}", expected="valid YAML")
    except yaml.YAMLError as error:
        yield CatalogProblem(shown, 1, "", "", f"YAML: {shorten(' '.join(str(error).split()))}", expected="valid YAML")


def _nodes(text: str) -> Iterator[_Node]:
    """The root of each document. Raises YAMLError and _DocumentError."""
    if len(_TAG_DIRECTIVE.findall(text)) > _MAX_TAG_DIRECTIVES:
        raise _DocumentError(1, "too many %TAG directives", f"at most {_MAX_TAG_DIRECTIVES}")
    has_surrogates = _SURROGATE_ESCAPE.search(text) is not None
    if has_surrogates:
        text = _mark_surrogates(text)
    composer = _Composer(has_surrogates=has_surrogates)
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            composer = _Composer(has_surrogates=has_surrogates)
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent) and (root := composer.take(event)):
            yield root


def _mark_surrogates(text: str) -> str:
    """The text with other characters in place of surrogates. Raises _DocumentError if it has these characters itself.

    JSON writes an emoji as escapes of two surrogates, which libyaml refuses. Whether they are escapes at all depends on
    the kind of scalar, which only libyaml knows: `_unmark_surrogates` restores either.
    """
    if found := _MARKED_ESCAPE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        message = "the file has both escapes of surrogates and private characters from U+FD800 to U+FDFFF"
        raise _DocumentError(line, message, "one of the two")
    return _SURROGATE_ESCAPE.sub(r"\\U000F\1", text)


def _unmark_surrogates(text: str) -> str:
    """The text of a scalar: escapes that libyaml has read become surrogates, those that are text stay text."""
    return _MARKED_ESCAPE.sub(lambda mark: f"\\u{mark[1]}" if mark[1] else chr(ord(mark[2]) - _MARKED_BY), text)


class _Composer:
    """Composes the nodes of one document from its events."""

    def __init__(self, *, has_surrogates: bool) -> None:
        self._has_surrogates = has_surrogates
        self._anchors: dict[str, _Node] = {}
        self._open: list[_ListNode | _MapNode] = []
        self._values = 0

    def take(self, event: yaml.NodeEvent | yaml.CollectionEndEvent) -> _Node | None:
        """The root, with the event that completes it. Raises _DocumentError."""
        if isinstance(event, yaml.CollectionEndEvent):
            node: _Node = self._open.pop()
            return None if self._open else node
        node = self._node(event)
        self._values += 1
        if self._values > 2 * _MAX_VALUES:  # with the keys
            raise _too_large(node.line)
        if self._open:
            parent = self._open[-1]
            (parent.items if isinstance(parent, _ListNode) else parent.keys_and_values).append(node)
        if not isinstance(event, yaml.CollectionStartEvent):
            return None if self._open else node
        assert not isinstance(node, _ScalarNode)
        self._open.append(node)
        if len(self._open) > _MAX_DEPTH:
            raise _too_deep(node.line)
        return None

    def _node(self, event: yaml.NodeEvent) -> _Node:
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        node: _Node
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _DocumentError(line, f"undefined alias {shorten(repr(event.anchor))}", "an anchor before it")
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            explicit = event.tag if event.tag not in {None, "!"} else None
            is_plain = event.implicit[0] and event.style in {None, ""}
            value = _unmark_surrogates(event.value) if self._has_surrogates else event.value
            node = _ScalarNode(line, value, explicit, is_plain)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _ListNode(line, [])
        else:
            node = _MapNode(line, [])
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node


def _too_deep(line: int) -> _DocumentError:
    return _DocumentError(line, "nested too deeply", f"at most {_MAX_DEPTH} levels")


def _too_large(line: int) -> _DocumentError:
    limits = f"{_MAX_VALUES:,} values or {_MAX_TEXT:,} characters"
    return _DocumentError(line, f"the document has, or its aliases expand to, more than {limits}", "less")


class _Reader:
    """Converts the nodes of one document to plain values, and records their lines."""

    def __init__(self, file: str, node: _Node, kubernetes: KubernetesPaths) -> None:
        self.file = file
        self.lines: dict[YamlPath, int] = {}
        self.problems: list[CatalogProblem] = []
        self.written: dict[YamlPath, str] = {}
        self._kubernetes = frozenset(kubernetes.get(_kind_of(node), ()))
        self._values = _MAX_VALUES
        self._text = _MAX_TEXT
        self._within: set[int] = set()
        self.value = self._read(node, (), in_kubernetes=False)

    def _read(self, node: _Node, path: YamlPath, *, in_kubernetes: bool) -> Any:
        in_kubernetes = in_kubernetes or path in self._kubernetes
        self.lines.setdefault(path, node.line)
        self._values -= 1
        self._check_limits(node.line)
        if len(self._within) > _MAX_DEPTH:  # more than the path's length if `<<` merges mappings that merge others
            raise _too_deep(node.line)
        if isinstance(node, _ScalarNode):
            return self._scalar(node, path, in_kubernetes=in_kubernetes)
        if id(node) in self._within:
            self._problem(node, path, "an alias contains itself", "plain values")
            return None
        self._within.add(id(node))
        try:
            if isinstance(node, _ListNode):
                return [
                    self._read(item, (*path, number), in_kubernetes=in_kubernetes)
                    for number, item in enumerate(node.items)
                ]
            return self._mapping(node, path, in_kubernetes=in_kubernetes)
        finally:
            self._within.discard(id(node))

    def _mapping(self, node: _MapNode, path: YamlPath, *, in_kubernetes: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in zip(node.keys_and_values[::2], node.keys_and_values[1::2], strict=True):
            if _is_merge(key_node):
                self._merge(merged, value_node, path, in_kubernetes=in_kubernetes)
                continue
            if not isinstance(key_node, _ScalarNode):
                self._problem(key_node, path, "a key is a mapping or a list", "a string as key")
                continue
            key = _join_surrogates(key_node.text)
            self._text -= len(key)
            self._check_limits(key_node.line)
            if problem := _storage_problem(key) or (_key_problem(key_node) if in_kubernetes else None):
                self._problem(key_node, path, *problem)
                continue
            here = (*path, key)
            if key in first:
                message = f"duplicate key {shorten(repr(key))}, first in line {first[key]}"
                self._problem(key_node, here, message, "each key once")
                continue
            first[key] = self.lines[here] = key_node.line
            found[key] = self._read(value_node, here, in_kubernetes=in_kubernetes)
        return merged | found

    def _merge(self, merged: dict[str, Any], node: _Node, path: YamlPath, *, in_kubernetes: bool) -> None:
        """Add the mappings that `<<` names: earlier ones win."""
        sources = node.items if isinstance(node, _ListNode) else [node]
        for source in reversed(sources):
            base = self._read(source, path, in_kubernetes=in_kubernetes) or {}
            if isinstance(base, dict):
                merged |= base
            else:
                self._problem(source, path, "<< merges a value that is not a mapping", "a mapping")

    def _scalar(self, node: _ScalarNode, path: YamlPath, *, in_kubernetes: bool) -> Any:
        text = _join_surrogates(node.text)
        self._text -= len(text)
        self._check_limits(node.line)
        value: Scalar = text
        if node.is_plain or node.tag in _PLAIN_TAGS:
            value = read_plain_as_kubectl(text) if in_kubernetes else read_plain(text)
            if node.tag is not None and isinstance(value, str):
                self._problem(node, path, f"{shorten(repr(text))} does not have the type of its tag", "plain values")
        elif node.tag not in {None, *_TEXT_TAGS}:
            self._problem(node, path, f"the tag {shorten(str(node.tag))} is not supported", "plain values")
            return None
        if problem := _storage_problem(value):
            self._problem(node, path, *problem)
            return _UNSTORABLE.sub("?", value) if isinstance(value, str) else None
        if isinstance(value, bool | int | float) and text != _as_json(value):
            self.written[path] = text
        return value

    def _check_limits(self, line: int) -> None:
        if self._values < 0 or self._text < 0:
            raise _too_large(line)

    def _problem(self, node: _Node, path: YamlPath, message: str, expected: str) -> None:
        self.problems.append(CatalogProblem(self.file, node.line, "", show_path(path), message, expected=expected))
        if len(self.problems) > _MAX_PROBLEMS:
            raise _DocumentError(
                node.line, f"more than {_MAX_PROBLEMS} problems; the first: {self.problems[0]}", "YAML"
            )


_PLAIN_TAGS = frozenset(f"{_TAG}{name}" for name in ("null", "bool", "int", "float"))
_TEXT_TAGS = frozenset(f"{_TAG}{name}" for name in ("str", "timestamp"))
"""A timestamp stays a string, as no field is one."""


def _kind_of(node: _Node) -> str:
    """The kind of a document that is a mapping."""
    if isinstance(node, _MapNode):
        for key, value in zip(node.keys_and_values[::2], node.keys_and_values[1::2], strict=True):
            if isinstance(key, _ScalarNode) and key.text == "kind" and isinstance(value, _ScalarNode):
                return value.text
    return ""


def _is_merge(node: _Node) -> bool:
    return isinstance(node, _ScalarNode) and (node.tag == f"{_TAG}merge" or (node.is_plain and node.text == "<<"))


def _join_surrogates(text: str) -> str:
    return _SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _key_problem(node: _ScalarNode) -> tuple[str, str] | None:
    """Why kubectl would send another key than the one that is written."""
    value = read_plain_as_kubectl(node.text) if node.is_plain else node.text
    if isinstance(value, str) or (value is not None and _as_json(value) == node.text):
        return None
    read_as = "nothing" if value is None else _as_json(value)
    return f"kubectl reads the key {shorten(node.text)} as {shorten(read_as)}", f'quotes: "{shorten(node.text)}"'


def _as_json(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_storable(text: str) -> bool:
    """Whether text can be stored: it has no NUL and no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


def _storage_problem(value: Scalar) -> tuple[str, str] | None:
    """Why a scalar cannot be stored, and what was expected; None if it can."""
    if isinstance(value, str) and (found := _UNSTORABLE.search(value)):
        return f"the text contains the character {found[0]!r}", "text without NUL and surrogate characters"
    if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
        return "the number exceeds 64 bits", "a smaller number, or a string in quotes"
    if isinstance(value, float) and not isfinite(value):
        return f"{value} is not a JSON number", "a finite number, or a string in quotes"
    if isinstance(value, float) and abs(value) > _MAX_FLOAT:
        return "the number exceeds 64 bits", "a smaller number, or a string in quotes"
    return None


def show_path(path: YamlPath) -> str:
    """`spec.cases[0]`."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + shorten(part, 100)
    return shown
