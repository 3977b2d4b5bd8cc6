"""Label selectors in the syntax of Kubernetes: which clusters a binding, a render config or a user selects.

Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
(`a=b`, `a!=b`, `a in (b, c)`, `a notin (b, c)`, `a`, `!a`, joined by commas: all must be met), and
`matchLabels` with `matchExpressions`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.labels import key_problem, value_problem
from kubeprobe.names import nearest

_BLANK = re.compile(r"\s*")
_WORD = re.compile(r"[^\s,()=!<>]*")


class Operator(StrEnum):
    """How a requirement compares a label; the values are those of `matchExpressions`."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorError(InvalidInputError):
    """A selector that cannot be parsed; `position` counts characters from 0."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        super().__init__(f"selector {text!r}, character {position + 1}: {problem}")
        self.text = text
        self.position = position


@dataclass(frozen=True, order=True)
class Requirement:
    """A condition on one label. An absent label is `NotIn` anything, as in Kubernetes."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    """Sorted, without duplicates."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet the requirement."""
        match self.operator:
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
        word = "in" if self.operator is Operator.IN else "notin"
        return f"{self.key} {word} ({','.join(self.values)})"


@dataclass(frozen=True)
class Selector:
    """Requirements that must all be met; without any, everything matches. Its `str()` parses to the same selector."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_selector(text: str) -> Selector:
    """Parse a selector. Raises SelectorError with the position of the error."""
    return _Parser(text).selector()


def selector_from(
    match_labels: Mapping[str, str] | None = None, match_expressions: Sequence[Mapping[str, Any]] | None = None
) -> Selector:
    """The selector of a `matchLabels` map and a `matchExpressions` list. Raises InvalidInputError with the entry."""
    requirements = []
    for key, value in (match_labels or {}).items():
        _require(f"matchLabels[{key!r}]", key_problem(key) or value_problem(value))
        requirements.append(Requirement(key, Operator.IN, (value,)))
    for index, expression in enumerate(match_expressions or ()):
        requirements.append(_from_expression(f"matchExpressions[{index}]", expression))
    return Selector(tuple(requirements))


def _from_expression(path: str, expression: Mapping[str, Any]) -> Requirement:
    key, values = str(expression.get("key", "")), expression.get("values") or ()
    _require(f"{path}.key", key_problem(key))
    try:
        operator = Operator(expression.get("operator", ""))
    except ValueError as error:
        found = expression.get("operator", "")
        raise InvalidInputError(
            f"{path}.operator: unknown operator {found!r}.{nearest(str(found), list(Operator))}"
        ) from error
    if operator in {Operator.EXISTS, Operator.DOES_NOT_EXIST}:
        _require(f"{path}.values", f"{operator} takes no values" if values else None)
        return Requirement(key, operator)
    _require(f"{path}.values", None if values else f"{operator} needs at least one value")
    for value in values:
        _require(f"{path}.values", value_problem(value))
    return Requirement(key, operator, tuple(sorted(set(values))))


def _require(path: str, problem: str | None) -> None:
    if problem:
        raise InvalidInputError(f"{path}: {problem}")


class _Parser:
    """Parses a selector from left to right; `_at` is the position of the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def selector(self) -> Selector:
        self._skip_blanks()
        if self._at == len(self._text):
            return Selector()
        requirements = [self._requirement()]
        while self._at < len(self._text):
            self._expect(",", "a comma, or the end")
            requirements.append(self._requirement())
        return Selector(tuple(requirements))

    def _requirement(self) -> Requirement:
        if self._take("!"):
            return Requirement(self._key(), Operator.DOES_NOT_EXIST)
        key = self._key()
        if self._take("!="):
            return Requirement(key, Operator.NOT_IN, (self._value(),))
        if self._take("==") or self._take("="):
            return Requirement(key, Operator.IN, (self._value(),))
        start = self._at
        match self._word():
            case "in":
                return Requirement(key, Operator.IN, self._values())
            case "notin":
                return Requirement(key, Operator.NOT_IN, self._values())
            case "" if self._text[start : start + 1] in {"", ","}:
                return Requirement(key, Operator.EXISTS)
            case _:
                raise self._expected("=, ==, !=, in, notin, a comma, or the end", start)

    def _values(self) -> tuple[str, ...]:
        self._expect("(", "a value list like (a, b)")
        values = {self._value()}
        while not self._take(")"):
            self._expect(",", "a comma or )")
            values.add(self._value())
        return tuple(sorted(values))

    def _key(self) -> str:
        start = self._at
        key = self._word()
        if not key:
            raise self._expected("a label key", start)
        if problem := key_problem(key):
            raise SelectorError(self._text, start, problem)
        return key

    def _value(self) -> str:
        start = self._at
        value = self._word()
        if problem := value_problem(value):
            raise SelectorError(self._text, start, problem)
        return value

    def _word(self) -> str:
        found = _WORD.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        self._skip_blanks()
        return found.group()

    def _take(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        self._skip_blanks()
        return True

    def _expect(self, sign: str, expected: str) -> None:
        if not self._take(sign):
            raise self._expected(expected, self._at)

    def _skip_blanks(self) -> None:
        blank = _BLANK.match(self._text, self._at)
        assert blank is not None
        self._at = blank.end()

    def _expected(self, expected: str, position: int) -> SelectorError:
        found = repr(self._text[position]) if position < len(self._text) else "the end"
        return SelectorError(self._text, position, f"expected {expected}, found {found}")
