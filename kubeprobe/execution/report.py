"""Reading what a probe said: the termination message of its container.

Next: `judge` weighs it against the exit code. The form is told in the client library's README; 4,096 bytes is
the kubelet's limit for one container (Kubernetes documentation, "Determine the Reason for Pod Failure").
"""

from dataclasses import dataclass
from typing import Any

import orjson

MAX_BYTES = 4096
MAX_DEPTH = 20
"""A report needs 4; what is nested very deeply can be read but not be written again."""


@dataclass(frozen=True)
class Report:
    """A readable report. `unknown` is set where the probe says that it could not find out."""

    ok: bool
    errors: tuple[str, ...] = ()
    unknown: str | None = None
    body: dict[str, Any] | None = None
    """The whole of it, as stored with the outcome."""


@dataclass(frozen=True)
class Unreadable:
    """A message that is no report; `why` says what is wrong with it."""

    why: str
    cut: bool = False
    """It fills the limit to the brim, so that the kubelet probably cut it."""


def read_report(message: str | None) -> Report | Unreadable | None:
    """The report in a termination message; None where there is none at all."""
    if not message or not message.strip():
        return None
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        cut = len(message.encode()) >= MAX_BYTES - 3  # a cut inside a code point leaves up to 3 bytes less
        return Unreadable(f"not JSON: {error}", cut=cut)
    if not isinstance(body, dict):
        return Unreadable(f"no JSON object but a {type(body).__name__}")
    try:
        body = _storable(body, MAX_DEPTH)
    except ValueError as error:
        return Unreadable(str(error))
    if isinstance(body.get("unknown"), str):
        return Report(ok=False, unknown=body["unknown"], body=body)
    return _read_verdict(body)


def storable(text: str) -> str:
    """The text without NUL, which no text in PostgreSQL may hold (its documentation, "Character Types")."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _storable(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(key): _storable(found, depth - 1) for key, found in value.items()}
        case list():
            return [_storable(found, depth - 1) for found in value]
    return value


def _read_verdict(body: dict[str, Any]) -> Report | Unreadable:
    ok, errors = body.get("ok"), body.get("errors") or []
    if not isinstance(ok, bool):
        return Unreadable('no report ("ok" must be true or false)')
    if not isinstance(errors, list) or not all(isinstance(e, str) for e in errors):
        return Unreadable('no report ("errors" must be a list of strings)')
    if ok and errors:
        return Unreadable('contradicting itself ("ok" is true, yet "errors" are given)')
    return Report(ok=ok, errors=tuple(errors), body=body)
