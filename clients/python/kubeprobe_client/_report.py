"""The report as bytes: JSON, never longer than Kubernetes keeps, and honest about what was cut.

Next stage: `_reporter` writes these bytes to the report file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps (`kubernetes/pkg/kubelet/container`)."""

_ELLIPSIS = "…"
_LEAST_USEFUL = 40  # bytes: a shorter piece of an error says nothing


@dataclass(frozen=True)
class Step:
    """A timed part of a probe; `ms` is its duration in milliseconds."""

    name: str
    ms: float
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """The step as it stands in the report."""
        return {"name": self.name, "ms": round(float(self.ms), 1), "ok": self.ok}


@dataclass(frozen=True)
class Report:
    """What a probe found: a verdict, why, and the steps and measurements behind it."""

    ok: bool
    errors: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)

    def encode(self, limit: int = LIMIT) -> bytes:
        """UTF-8 JSON of at most `limit` bytes (512 or more).

        A report that is too long keeps its verdict and its first errors, and says `"truncated": true`.
        Errors come first, but up to a quarter of the room each is held for measurements (a chart needs
        them most when the probe fails) and for steps (the failed ones first: they say where).
        """
        clean = Report(
            self.ok,
            tuple(_clean(error) for error in self.errors),
            tuple(Step(_clean(step.name), step.ms, step.ok) for step in self.steps),
            {_clean(name): value for name, value in self.metrics.items()},
        )
        whole = clean.as_bytes()
        return whole if len(whole) <= limit else clean._cut(limit)

    def _cut(self, limit: int) -> bytes:
        room = limit - len(Report(self.ok).as_bytes(truncated=True))
        share = room // 4
        steps = [Step(_clip(step.name, 128), step.ms, step.ok) for step in self.steps]
        order = sorted(range(len(steps)), key=lambda place: steps[place].ok)
        step_sizes = [_size(steps[place].as_json()) + 1 for place in order]
        names = list(self.metrics)
        metric_sizes = [_size({name: self.metrics[name]}) - 1 for name in names]

        held = sum(_take(metric_sizes, share)) + sum(_take(step_sizes, share))
        errors = _take_errors(self.errors, room - held)
        room -= sum(_size(error) + 1 for error in errors)
        # What the errors left free goes to the steps first.
        kept_steps = _take(step_sizes, room - sum(_take(metric_sizes, share)))
        kept_metrics = _take(metric_sizes, room - sum(kept_steps))
        return Report(
            self.ok,
            errors,
            tuple(steps[place] for place in sorted(order[: len(kept_steps)])),
            {name: self.metrics[name] for name in names[: len(kept_metrics)]},
        ).as_bytes(truncated=True)

    def as_bytes(self, *, truncated: bool = False) -> bytes:
        """The report as it is, however long."""
        document: dict[str, Any] = {"ok": self.ok}
        if truncated:
            document["truncated"] = True
        document["errors"] = self.errors
        document["steps"] = [step.as_json() for step in self.steps]
        document["metrics"] = self.metrics
        return _json(document)


def encode_unknown(reason: str, limit: int = LIMIT) -> bytes:
    """The message of a probe that could not find out: `{"unknown": reason}`, cut like a report."""
    reason = _clean(reason)
    whole = _json({"unknown": reason})
    if len(whole) <= limit:
        return whole
    room = limit - len(_json({"unknown": "", "truncated": True})) + len('""')
    return _json({"unknown": _clip(reason, room), "truncated": True})


def _take(sizes: list[int], room: int) -> list[int]:
    """The first sizes that fit into the room; one that is too big ends it."""
    kept: list[int] = []
    for size in sizes:
        if size > room:
            break
        room -= size
        kept.append(size)
    return kept


def _take_errors(errors: tuple[str, ...], room: int) -> tuple[str, ...]:
    """The first errors that fit, long ones shortened; those left out are counted in the last line."""
    most = room if len(errors) == 1 else room // 2  # one endless error does not push out the second
    kept: list[str] = []
    for place, error in enumerate(errors):
        more = _and_more(len(errors) - place - 1)
        left = room - (_size(more) + 1 if more else 0) - 1
        text = _clip(error, min(left, most))
        if _size(text) < min(_size(error), _LEAST_USEFUL) or _size(text) > left:  # even an empty one takes its quotes
            return (*kept, _and_more(len(errors) - place))
        kept.append(text)
        room -= _size(text) + 1
    return tuple(kept)


def _and_more(count: int) -> str:
    return f"{_ELLIPSIS} and {count} more" if count else ""


def _clip(text: str, room: int) -> str:
    """The text so shortened that, as a JSON string with its quotes, it takes at most `room` bytes."""
    if _size(text) <= room:
        return text
    fits, too_long = 0, min(len(text), max(room, 0)) + 1  # lengths; a code point takes a byte or more
    while too_long - fits > 1:
        length = (fits + too_long) // 2
        if _size(text[:length] + _ELLIPSIS) <= room:
            fits = length
        else:
            too_long = length
    return text[:fits] + _ELLIPSIS if fits else ""


def _clean(text: str) -> str:
    """The text without lone surrogates (from undecodable file names, say), which UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _size(value: Any) -> int:
    return len(_json(value))
