"""The expected response: status, body, and maximum time of each phase. Pure."""

import re
from dataclasses import dataclass, field

_ONE = re.compile(r"(?P<first>[1-5]\d\d)(?:-(?P<last>[1-5]\d\d))?|(?P<class>[1-5])xx", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
EXCERPT_LENGTH = 120
"""The maximum number of characters of a body in an error."""


def parse_statuses(words: list[str]) -> list[range]:
    """Status codes (`200`), ranges (`200-399`) and classes (`2xx`); raises ValueError."""
    found = []
    for word in words:
        match = _ONE.fullmatch(word)
        if not match:
            raise ValueError(f"{word!r}: expected a status such as 200, 2xx or 200-399")
        if match["class"]:
            first = int(match["class"]) * 100
            found.append(range(first, first + 100))
        else:
            first, last = int(match["first"]), int(match["last"] or match["first"])
            if last < first:
                raise ValueError(f"{word!r}: the range ends before it begins")
            found.append(range(first, last + 1))
    return found


def parse_headers(text: str) -> dict[str, str]:
    """Lines of `Name: value`; raises ValueError. Values are never in the error, as they may be secret."""
    headers = {}
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or _CONTROL.search(value):
            raise ValueError(f"line {number} is not a header: expected Name: value")
        headers[name] = value.strip()
    return headers


@dataclass(frozen=True)
class Expected:
    """The expectations of the case's parameters."""

    statuses: list[range]
    contains: str = ""
    matches: re.Pattern[str] | None = None
    max_ms: dict[str, float] = field(default_factory=dict)
    """Maximum milliseconds by phase; other phases are only limited by the time-out."""
    min_days: float = 0.0
    """Days that the certificate must be valid for."""

    @property
    def has_body(self) -> bool:
        """Whether anything is expected of the body."""
        return bool(self.contains or self.matches)

    def status_problem(self, status: int, reason: str, body: str) -> str:
        """The problem with a status; empty if there is none."""
        if any(status in statuses for statuses in self.statuses):
            return ""
        wanted = ", ".join(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in self.statuses)
        excerpt = f", its body begins {_excerpt(body)}" if body.strip() else ""
        return f"status {status} {reason}".rstrip() + f", expected {wanted}{excerpt}"

    def body_problem(self, body: str, *, cut: bool) -> str:
        """The problem with a body; empty if there is none."""
        part = "the part of the body that was read" if cut else "the body"
        if self.contains and self.contains not in body:
            return f"{part} lacks {self.contains!r} (BODY_CONTAINS); it begins {_excerpt(body)}"
        if self.matches and not self.matches.search(body):
            return f"{part} does not match {self.matches.pattern!r} (BODY_MATCHES); it begins {_excerpt(body)}"
        return ""

    def slow(self, phase: str, ms: float) -> str:
        """The error of a phase that took too long; otherwise empty."""
        limit = self.max_ms.get(phase, 0)
        return f"{phase} took {ms:.0f} ms, expected at most {limit:g} ms" if 0 < limit < ms else ""

    def expiry_problem(self, certificate: str, days: float) -> str:
        """The error of a certificate that expires too soon; otherwise empty."""
        if days >= self.min_days:
            return ""
        return f"its certificate {certificate} expires in {days:.1f} days (MIN_DAYS is {self.min_days:g})"


def _excerpt(body: str) -> str:
    text = " ".join(body.split())
    return repr(text[:EXCERPT_LENGTH] + ("..." if len(text) > EXCERPT_LENGTH else ""))
