"""The report as bytes: JSON, no longer than Kubernetes keeps, and marked if it was truncated.

`_reporter` writes these bytes to the report file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

LIMIT = 4096
"""The kubelet's limit of a termination message, in bytes (`kubernetes/pkg/kubelet/container`)."""

_ELLIPSIS = "…"
_LEAST_USEFUL = 40  # bytes: a shorter part of an error is of no use


@dataclass(frozen=True)
class Step:
    """A timed part of a probe; `ms` is its duration in milliseconds."""

    name: str
    ms: float
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """The step as in the report."""
        return {"name": self.name, "ms": round(float(self.ms), 1), "ok": self.ok}


@dataclass(frozen=True)
class Report:
    """The result of a probe: ok or not, errors, steps and measurements."""

    ok: bool
    errors: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)

    def encode(self, limit: int = LIMIT) -> bytes:
        """UTF-8 JSON of at most `limit` bytes (512 or more).

        A report that is too long keeps `ok` and its first errors, and has `"truncated": true`. Errors have
        priority, but up to a quarter of the space each is reserved for measurements (charts need them most
        when the probe fails) and for steps (failed ones first).
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
        space = limit - len(Report(self.ok).as_bytes(truncated=True))
        share = space // 4
        steps = [Step(_clip(step.name, 128), step.ms, step.ok) for step in self.steps]
        order = sorted(range(len(steps)), key=lambda index: steps[index].ok)
        step_sizes = [_size(steps[index].as_json()) + 1 for index in order]
        names = list(self.metrics)
        metric_sizes = [_size({name: self.metrics[name]}) - 1 for name in names]

        reserved = sum(_take(metric_sizes, share)) + sum(_take(step_sizes, share))
        errors = _take_errors(self.errors, space - reserved)
        space -= sum(_size(error) + 1 for error in errors)
        # Space that the errors did not use goes to the steps first.
        kept_steps = _take(step_sizes, space - sum(_take(metric_sizes, share)))
        kept_metrics = _take(metric_sizes, space - sum(kept_steps))
        return Report(
            self.ok,
            errors,
            tuple(steps[index] for index in sorted(order[: len(kept_steps)])),
            {name: self.metrics[name] for name in names[: len(kept_metrics)]},
        ).as_bytes(truncated=True)

    def as_bytes(self, *, truncated: bool = False) -> bytes:
        """The report in full, of any length."""
        document: dict[str, Any] = {"ok": self.ok}
        if truncated:
            document["truncated"] = True
        document["errors"] = self.errors
        document["steps"] = [step.as_json() for step in self.steps]
        document["metrics"] = self.metrics
        return _json(document)


def encode_unknown(reason: str, limit: int = LIMIT) -> bytes:
    """The message of a probe without a verdict, `{"unknown": reason}`, truncated like a report."""
    reason = _clean(reason)
    whole = _json({"unknown": reason})
    if len(whole) <= limit:
        return whole
    space = limit - len(_json({"unknown": "", "truncated": True})) + len('""')
    return _json({"unknown": _clip(reason, space), "truncated": True})


def _take(sizes: list[int], space: int) -> list[int]:
    """The first sizes that fit into the space, up to the first one that does not."""
    kept: list[int] = []
    for size in sizes:
        if size > space:
            break
        space -= size
        kept.append(size)
    return kept


def _take_errors(errors: tuple[str, ...], space: int) -> tuple[str, ...]:
    """The first errors that fit, long ones shortened; the last one counts those left out."""
    most = space if len(errors) == 1 else space // 2  # a very long error leaves space for the second
    kept: list[str] = []
    for index, error in enumerate(errors):
        more = _and_more(len(errors) - index - 1)
        left = space - (_size(more) + 1 if more else 0) - 1
        text = _clip(error, min(left, most))
        if _size(text) < min(_size(error), _LEAST_USEFUL) or _size(text) > left:  # even an empty one needs its quotes
            return (*kept, _and_more(len(errors) - index))
        kept.append(text)
        space -= _size(text) + 1
    return tuple(kept)


def _and_more(count: int) -> str:
    return f"{_ELLIPSIS} and {count} more" if count else ""


def _clip(text: str, space: int) -> str:
    """The text, shortened so that it takes at most `space` bytes as a JSON string with its quotes."""
    if _size(text) <= space:
        return text
    fits, too_long = 0, min(len(text), max(space, 0)) + 1  # lengths in code points, of one byte or more
    while too_long - fits > 1:
        length = (fits + too_long) // 2
        if _size(text[:length] + _ELLIPSIS) <= space:
            fits = length
        else:
            too_long = length
    return text[:fits] + _ELLIPSIS if fits else ""


def _clean(text: str) -> str:
    """The text with lone surrogates escaped (from undecodable file names, say), which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _size(value: Any) -> int:
    return len(_json(value))
