"""YAML as kubectl reads it: the scalars of YAML 1.1 (`no` is false, `0400` is octal), as values of JSON.

Rules: sigs.k8s.io/yaml 1.4, goyaml.v2/resolve.go and decode.go. Only the first document is read; of equal keys, the
last one counts. Work and memory are bounded: depth, and the number of values after aliases are expanded.
"""

import base64
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from kubeprobe.errors import InvalidInputError

MAX_DEPTH = 100
MAX_VALUES = 500_000
"""The most values in a document, each alias counted as all that it stands for."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    **{form: True for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("no", "false", "off") for form in (word, word.title(), word.upper())},
    **dict.fromkeys("yY", True),
    **dict.fromkeys("nN", False),
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_INTEGER = 66
"""Characters of a 64-bit integer in its longest form, binary."""


class KubernetesYamlError(InvalidInputError):
    """The text is not YAML, or exceeds a limit. The message has the line and none of the text, which may be secret."""


def parse_yaml(text: str) -> Any:
    """The first document of a YAML or JSON text; None if it is empty. Raises KubernetesYamlError."""
    try:
        found = orjson.loads(text)  # JSON is YAML, and a hundred times faster to read
    except orjson.JSONDecodeError:
        return _parse_events(text)
    try:
        orjson.dumps(found)  # refuses what is nested more than 254 deep
    except TypeError:
        raise KubernetesYamlError(f"is nested more than {MAX_DEPTH} levels deep") from None
    return found


@dataclass
class _Open:
    """A mapping or list whose end is not read yet."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    key: str | None = None
    """Of a mapping: the key whose value comes next."""
    is_merge: bool = False
    values: int = 1
    """Itself and the values in it, aliases expanded."""


def _parse_events(text: str) -> Any:
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.line = event.start_mark.line + 1 if event.start_mark else 1
            if builder.add(event):
                return builder.document
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise KubernetesYamlError(f"is not YAML{line}") from None
    except (yaml.YAMLError, ValueError):  # ValueError: a character that UTF-8 cannot hold
        raise KubernetesYamlError("is not YAML") from None
    return None


class _Builder:
    """Builds a document from the parser's events, without recursion."""

    def __init__(self) -> None:
        self.document: Any = None
        self.line = 1
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        """By name: the value, and how many values are in it."""
        self._values = 0

    def add(self, event: yaml.Event) -> bool:
        """Add an event; True: the document is complete."""
        match event:
            case yaml.ScalarEvent():
                self._add_scalar(event)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise self._error("has an alias to an unknown anchor, or to what contains it")
                value, values = self._anchors[event.anchor]
                self._count(values)
                self._place(value, values)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                ended = self._stack.pop()
                self._define(ended.anchor, ended.value, ended.values)
                self._place(ended.value, ended.values)
            case yaml.DocumentEndEvent():
                return True
        return False

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(f"is nested more than {MAX_DEPTH} levels deep")
        if self._stack and self._expects_key():
            raise self._error("has a mapping or a list as a key; expected text")
        self._count(1)
        self._anchors.pop(event.anchor or "", None)
        self._stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))

    def _add_scalar(self, event: yaml.ScalarEvent) -> None:
        value = self._resolve(event)
        self._count(1)
        self._define(event.anchor, value, 1)
        if self._stack and self._expects_key():
            top = self._stack[-1]
            top.is_merge = event.value == "<<" and (event.implicit[0] or event.tag == f"{_TAG}merge")
            top.key = self._key(value)
        else:
            self._place(value, 1)

    def _place(self, value: Any, values: int) -> None:
        """Put a complete value where it belongs."""
        if not self._stack:
            self.document = value
            return
        top = self._stack[-1]
        if self._expects_key():  # an alias
            top.key, top.is_merge = self._key(value), False
            return
        top.values += values
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.is_merge:
            self._merge(top.value, value)
        else:
            assert top.key is not None
            top.value[top.key] = value
        top.key = None

    def _expects_key(self) -> bool:
        return isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _merge(self, into: dict[str, Any], found: Any) -> None:
        """As goyaml.v2: the keys of a merged mapping replace those before it, and those after it replace them."""
        for each in reversed(found) if isinstance(found, list) else (found,):
            if not isinstance(each, dict):
                raise self._error("merges (<<) what is not a mapping")
            into.update(each)

    def _define(self, anchor: str | None, value: Any, values: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, values)

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._error(f"has more than {MAX_VALUES} values, aliases expanded")

    def _key(self, value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        if isinstance(value, (str, int, float)):
            return str(value)
        raise self._error("has a key that is not text")

    def _resolve(self, event: yaml.ScalarEvent) -> Any:
        """The value of a scalar by its tag, or by its form if it is plain."""
        text, tag = event.value, (event.tag or "").removeprefix(_TAG)
        if tag == "binary":
            try:
                return base64.b64decode(text, validate=True).decode(errors="replace")
            except ValueError:
                raise self._error("has !!binary data that is not base64") from None
        if tag == "str" or (not tag and not event.implicit[0]):
            return text
        if tag and tag not in _OF_TYPE:
            return text  # a tag of an application
        value = self._resolve_plain(text)
        if tag == "float" and type(value) is int:
            return value
        if tag and tag != "timestamp" and type(value) is not _OF_TYPE[tag]:
            raise self._error(f"has a value that is not a !!{tag}")
        return value

    def _resolve_plain(self, text: str) -> Any:
        value = read_plain_scalar(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(f"has {text}, which JSON cannot hold")
        return value

    def _error(self, problem: str) -> KubernetesYamlError:
        return KubernetesYamlError(f"{problem} (line {self.line})")


_OF_TYPE = {"bool": bool, "int": int, "float": float, "null": type(None), "timestamp": str}


def read_plain_scalar(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes and tag; timestamps stay text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", "").lower())
    return _read_number(text)


def _read_number(text: str) -> int | float | str:
    """A number, or the text itself if it is not one."""
    plain = re.sub("(?<=[0-9])_(?=[0-9])", "", text) if text[0] == "." else text.replace("_", "")
    if len(plain) <= _LONGEST_INTEGER and _INTEGER.fullmatch(plain):
        digits = plain.lstrip("+-")
        is_octal = len(digits) > 1 and digits.isdecimal() and digits[0] == "0"
        value = int(digits, 8 if is_octal else 0) * (-1 if plain[0] == "-" else 1)
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        if math.isfinite(number):
            return number
    return text
