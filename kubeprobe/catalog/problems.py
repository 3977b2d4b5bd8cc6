"""The problems of a catalog: all at once, each with its location and the expectation (promise 7)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic_core import PydanticCustomError

from kubeprobe.errors import InvalidInputError
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.masking import mask_secrets

PROBLEM_TYPE = "kubeprobe"
"""The type of the validation errors that `invalid` makes, by which `explain` recognises them."""


@dataclass(frozen=True, order=True)
class CatalogProblem(JsonModel):
    """One problem: its location (file, line, document, path), what is wrong, and what was expected."""

    file: str
    line: int
    document: str
    """Kind and name, such as `Binding/core`; empty if they could not be read."""
    path: str
    """Path within the document, such as `spec.on.periodic.every`; empty for the document as a whole."""
    message: str
    expected: str = ""
    nearest: str = ""

    def masked(self) -> "CatalogProblem":
        """The problem without credentials, which its document may hold anywhere."""
        document, path, message, expected, nearest = map(
            mask_secrets, (self.document, self.path, self.message, self.expected, self.nearest)
        )
        return CatalogProblem(self.file, self.line, document, path, message, expected, nearest)

    def __str__(self) -> str:
        """One line; `file:line` comes first, so that editors and terminals can open it."""
        location = f"{self.file}:{self.line}" if self.file else "catalog"
        parts = [location, *(part for part in (self.document, self.path) if part), self.message]
        text = ": ".join(parts)
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text


class CatalogError(InvalidInputError):
    """An invalid catalog; nothing was changed. `problems` has every problem."""

    def __init__(self, problems: Iterable[CatalogProblem]) -> None:
        self.problems: tuple[CatalogProblem, ...] = tuple(sorted({problem.masked() for problem in problems}))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shorten(text: str, most: int = 200) -> str:
    """The text, cut to `most` characters with a mark: what a message repeats may be as long as its file."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def nearest_name(name: object, valid: Iterable[str]) -> str:
    """The valid name that is closest to `name`; empty if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def invalid(message: str, *, expected: str = "", near: str = "") -> PydanticCustomError:
    """The error that a validator raises; `explain` adds the location and makes a CatalogProblem of it."""
    return PydanticCustomError(
        PROBLEM_TYPE, "{message}; expected {expected}", {"message": message, "expected": expected, "near": near}
    )


def one_of(names: Sequence[str], *, most: int = 12) -> str:
    """`a, b or c` for a message; a long list is shortened."""
    shown = [shorten(name) for name in names[:most]]
    if len(names) > most:
        return ", ".join(shown) + f" or one of {len(names) - most} more"
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1] if shown else "nothing"
