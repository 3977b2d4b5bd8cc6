"""Parses a probe's report: the termination message of its container.

Next: `judge` compares it with the exit code. The client library's README describes the format; 4,096 bytes is
the kubelet's limit for one container (Kubernetes documentation, "Determine the Reason for Pod Failure").
"""

from dataclasses import dataclass
from typing import Any

import orjson

MAX_BYTES = 4096
MAX_DEPTH = 20
"""A report needs 4. orjson reads deeper nesting than it can write."""


@dataclass(frozen=True)
class Report:
    """A valid report. `unknown`: why the probe reached no verdict."""

    ok: bool
    errors: tuple[str, ...] = ()
    unknown: str | None = None
    body: dict[str, Any] | None = None
    """The whole report, as stored with the outcome."""


@dataclass(frozen=True)
class InvalidReport:
    """A termination message that is not a report."""

    problem: str
    truncated: bool = False
    """It has the limit's length, so that the kubelet probably truncated it."""


def read_report(message: str | None) -> Report | InvalidReport | None:
    """Parse the report in a termination message; None if there is no message."""
    if not message or not message.strip():
        return None
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        truncated = len(message.encode()) >= MAX_BYTES - 3  # up to 3 bytes less if cut inside a code point
        return InvalidReport(f"not JSON: {error}", truncated=truncated)
    if not isinstance(body, dict):
        return InvalidReport(f"not a JSON object but a {type(body).__name__}")
    try:
        body = _storable(body, MAX_DEPTH)
    except ValueError as error:
        return InvalidReport(str(error))
    if isinstance(body.get("unknown"), str):
        return Report(ok=False, unknown=body["unknown"], body=body)
    return _read_verdict(body)


def without_nul(text: str) -> str:
    """The text without NUL, which PostgreSQL does not store (its documentation, "Character Types")."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _storable(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    match value:
        case str():
            return without_nul(value)
        case dict():
            return {without_nul(key): _storable(found, depth - 1) for key, found in value.items()}
        case list():
            return [_storable(found, depth - 1) for found in value]
    return value


def _read_verdict(body: dict[str, Any]) -> Report | InvalidReport:
    ok, errors = body.get("ok"), body.get("errors") or []
    if not isinstance(ok, bool):
        return InvalidReport('invalid ("ok" must be true or false)')
    if not isinstance(errors, list) or not all(isinstance(e, str) for e in errors):
        return InvalidReport('invalid ("errors" must be a list of strings)')
    if ok and errors:
        return InvalidReport('inconsistent ("ok" is true, but "errors" is not empty)')
    return Report(ok=ok, errors=tuple(errors), body=body)
