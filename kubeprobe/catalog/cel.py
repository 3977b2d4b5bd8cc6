"""CEL expressions at the door: compiled as the `rules` probe compiles them, so that a bad one never gets there.

Google's own implementation does the work. It knows types, so that an unknown name or a comparison of a number with a
text is found without any object. Next: `model.rule` holds a rule's expressions to it.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cel_expr_python import cel

VARIABLES = ("object", "params", "now")
"""What an expression may use: the object looked at, the probe's parameters (texts), the time (a timestamp)."""

_INLINE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_TRUE_OR_FALSE = ("BOOL", "DYN")


class CelError(ValueError):
    """An expression that means nothing: why, and where in it (line and column, from 1)."""

    def __init__(self, why: str, line: int, column: int) -> None:
        super().__init__(why)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        """`column 6: why`, with the line where it is not the first."""
        place = f"column {self.column}" if self.line == 1 else f"line {self.line}, column {self.column}"
        return f"{place}: {self.args[0]}"


@cache
def _environment() -> "cel.Env":
    from cel_expr_python import cel  # noqa: PLC0415 (16 MB that only catalogs with rules need)
    from cel_expr_python.ext import ext_optional, ext_strings  # noqa: PLC0415

    # probes/rules/expressions.py makes the same one; tests/unit/catalog/test_rules.py holds them together.
    return cel.NewEnv(
        variables={"object": cel.Type.DYN, "params": cel.Type("map<string, string>"), "now": cel.Type.TIMESTAMP},
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
    )


@lru_cache(maxsize=4096)
def type_of(expression: str) -> str:
    """Compile an expression and tell its type, such as `BOOL`; raises CelError with the first error."""
    try:
        return str(_environment().compile(expression).return_type().name())
    except RuntimeError as error:
        raise _first_error(str(error)) from None


def check_condition(expression: str) -> None:
    """Raises CelError unless the expression can be true or false."""
    found = type_of(expression)
    if found not in _TRUE_OR_FALSE:
        raise CelError(f"it is never true or false, it is of type {found.lower()}", 1, 1)


def check_text(text: str) -> None:
    """Raises CelError unless all that stands between `{{` and `}}` is CEL; line and column are those in the text."""
    for expression, start in inline(text):
        try:
            type_of(expression)
        except CelError as error:
            before = text[:start]
            line = before.count("\n") + error.line
            column = error.column + (start - before.rfind("\n") - 1 if error.line == 1 else 0)
            raise CelError(error.args[0], line, column) from None


def inline(text: str) -> Iterator[tuple[str, int]]:
    """The expressions in a text, and where each begins."""
    for found in _INLINE.finditer(text):
        yield found[1], found.start(1)


def _first_error(told: str) -> CelError:
    found = _ERROR.search(told)
    if found is None:
        return CelError(told.removesuffix(" [INVALID_ARGUMENT]"), 1, 1)
    why = found[3].removesuffix(" [INVALID_ARGUMENT]").removesuffix(" (in container '')")
    return CelError(why.split(" expecting {")[0], int(found[1]), int(found[2]))
