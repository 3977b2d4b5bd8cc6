"""CEL expressions of rules: compiled once, evaluated for each object."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

Variables = Mapping[str, Any]

# kubeprobe/catalog/cel.py has the same one, so that an invalid expression is refused when the catalog is applied.
_ENVIRONMENT = cel.NewEnv(
    variables={"object": cel.Type.DYN, "params": cel.Type("map<string, string>"), "now": cel.Type.TIMESTAMP},
    extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
)


class NotEvaluated(Exception):  # noqa: N818
    """An expression has no value for an object: it reads a missing field, or compares different types."""


class Expression:
    """One CEL expression. Raises ValueError for an invalid one."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._compiled = _ENVIRONMENT.compile(text)
        except RuntimeError as error:
            raise ValueError(f"{text!r}: invalid CEL expression: {' '.join(str(error).split())}") from None

    def value(self, variables: Variables) -> Any:
        """Its value as plain JSON; raises NotEvaluated if it has none."""
        found = self._compiled.eval(data=dict(variables))
        if found.type() == cel.Type.ERROR:
            raise NotEvaluated(f"{self.text}: {str(found.value()).partition(': ')[2]}")
        return found.plain_value()

    def is_true(self, variables: Variables) -> bool:
        """Whether it is true; raises NotEvaluated if it is neither true nor false."""
        value = self.value(variables)
        if not isinstance(value, bool):
            raise NotEvaluated(f"{self.text}: expected true or false, got {_formatted(value)}")
        return value


class Text:
    """Text with expressions in `{{ }}`. Raises ValueError for an invalid one."""

    def __init__(self, text: str) -> None:
        self._pieces: list[str | Expression] = []
        end = 0
        while (start := text.find("{{", end)) >= 0 and (close := text.find("}}", start + 2)) >= 0:
            self._pieces += [text[end:start], Expression(text[start + 2 : close].strip())]
            end = close + 2
        self._pieces.append(text[end:])

    def render(self, variables: Variables) -> str:
        """The text with values filled in; an expression without a value is replaced by the reason."""
        return "".join(piece if isinstance(piece, str) else _evaluated(piece, variables) for piece in self._pieces)


def _evaluated(expression: Expression, variables: Variables) -> str:
    try:
        return _formatted(expression.value(variables))
    except NotEvaluated as error:
        return f"<{error}>"


def _formatted(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return json.dumps(value, default=str)
