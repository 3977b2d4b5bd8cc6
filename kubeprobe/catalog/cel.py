"""Validating CEL expressions: they are compiled as the `rules` probe compiles them, so that it never gets a bad one.

Google's implementation checks types too, so an unknown name, or a comparison of a number with a string, is found
without any object. Next: `model.rule` validates a rule's expressions with it.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cel_expr_python import cel

VARIABLES = ("object", "params", "now")
"""The variables of an expression: the Kubernetes object, the probe's parameters (strings), the time (a timestamp)."""

MAX_LENGTH = 10_000
"""Characters of one expression; checked before it is compiled, which holds up every thread of the process."""

_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_BOOLEAN = ("BOOL", "DYN")


class CelError(ValueError):
    """An expression that does not compile: the reason, and the position in it (line and column, from 1)."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        """`column 6: reason`; with the line, unless it is the first."""
        position = f"column {self.column}" if self.line == 1 else f"line {self.line}, column {self.column}"
        return f"{position}: {self.args[0]}"


@cache
def _environment() -> "cel.Env":
    from cel_expr_python import cel  # noqa: PLC0415 (16 MB that only catalogs with rules need)
    from cel_expr_python.ext import ext_optional, ext_strings  # noqa: PLC0415

    # The same as in probes/rules/expressions.py; tests/unit/catalog/test_rules.py compares the two.
    return cel.NewEnv(
        variables={"object": cel.Type.DYN, "params": cel.Type("map<string, string>"), "now": cel.Type.TIMESTAMP},
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
    )


@lru_cache(maxsize=4096)
def type_of(expression: str) -> str:
    """Compile an expression and return its type, such as `BOOL`. Raises CelError with the first error."""
    if len(expression) > MAX_LENGTH:
        raise CelError(f"{len(expression)} characters are too long; at most {MAX_LENGTH} are allowed", 1, MAX_LENGTH)
    try:
        return str(_environment().compile(expression).return_type().name())
    except RuntimeError as error:
        raise _first_error(str(error)) from None


def check_condition(expression: str) -> None:
    """Raises CelError unless the expression is, or may be, a boolean."""
    found = type_of(expression)
    if found not in _BOOLEAN:
        raise CelError(f"expected a boolean, found type {found.lower()}", 1, 1)


def check_text(text: str) -> None:
    """Raises CelError unless each expression between `{{` and `}}` compiles; line and column are those in the text."""
    for expression, start in inline(text):
        try:
            type_of(expression)
        except CelError as error:
            before = text[:start]
            line = before.count("\n") + error.line
            column = error.column + (start - before.rfind("\n") - 1 if error.line == 1 else 0)
            raise CelError(error.args[0], line, column) from None


def inline(text: str) -> Iterator[tuple[str, int]]:
    """The expressions in a text, with the offset of each."""
    start = text.find("{{")
    while start >= 0 and (end := text.find("}}", start + 2)) >= 0:
        yield text[start + 2 : end], start + 2
        start = text.find("{{", end + 2)


def _first_error(output: str) -> CelError:
    found = _ERROR.search(output)
    if found is None:
        return CelError(output.removesuffix(" [INVALID_ARGUMENT]"), 1, 1)
    reason = found[3].removesuffix(" [INVALID_ARGUMENT]").removesuffix(" (in container '')")
    return CelError(reason.split(" expecting {")[0], int(found[1]), int(found[2]))
