"""What is wrong with a catalog: every problem at once, each with its place and what was expected (promise 7)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic_core import PydanticCustomError

from kubeprobe.errors import InvalidInputError

PROBLEM_TYPE = "kubeprobe"
"""The type of the validation errors that `wrong` makes, by which they are known again."""


@dataclass(frozen=True, order=True)
class CatalogProblem:
    """One thing that is wrong: where (file, line, document, path within it), what, what was expected instead."""

    file: str
    line: int
    document: str
    """Kind and name, such as `Binding/core`; empty where the document could not be read so far."""
    path: str
    """Place within the document, such as `spec.on.periodic.every`; empty for the document as a whole."""
    message: str
    expected: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        """One line, `file:line` first so that editors and terminals can jump there."""
        place = f"{self.file}:{self.line}" if self.file else "catalog"
        parts = [place, *(part for part in (self.document, self.path) if part), self.message]
        text = ": ".join(parts)
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "file": self.file,
            "line": self.line,
            "document": self.document,
            "path": self.path,
            "message": self.message,
            "expected": self.expected,
            "nearest": self.nearest,
        }


class CatalogError(InvalidInputError):
    """A catalog that is refused; nothing was changed. `problems` holds all that is wrong with it."""

    def __init__(self, problems: Iterable[CatalogProblem]) -> None:
        self.problems: tuple[CatalogProblem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest_name(name: object, valid: Iterable[str]) -> str:
    """The valid name that looks most like `name`; empty when none does."""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def wrong(message: str, *, expected: str = "", near: str = "") -> PydanticCustomError:
    """The error that a validator raises; it becomes a CatalogProblem with its place filled in."""
    return PydanticCustomError(
        PROBLEM_TYPE, "{message}; expected {expected}", {"message": message, "expected": expected, "near": near}
    )


def one_of(names: Sequence[str], *, most: int = 12) -> str:
    """`a, b or c` for a message; a long list is cut."""
    shown = list(names[:most])
    if len(names) > most:
        return ", ".join(shown) + f" or one of {len(names) - most} more"
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1] if shown else "nothing"
