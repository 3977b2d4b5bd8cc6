"""ResourceQuotas and LimitRanges of namespaces: missing, or contradictory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from probes._quantities import quantity

Json = dict[str, Any]
_COMPUTE = {"cpu": "requests.cpu", "memory": "requests.memory"}
"""Short names of quotas on requests."""


@dataclass(frozen=True)
class Namespace:
    """A namespace and the limits in it."""

    name: str
    created: datetime
    quotas: list[Json] = field(default_factory=list)
    ranges: list[Json] = field(default_factory=list)


@dataclass(frozen=True)
class Required:
    """What a namespace must have."""

    quota: bool
    limit_range: bool
    grace: timedelta
    """A namespace younger than this may still lack them."""


def problems(namespaces: list[Namespace], required: Required, now: datetime) -> list[str]:
    """The problems: contradictions, which block pods, before missing limits."""
    contradictions = [problem for namespace in namespaces for problem in _contradictions(namespace)]
    missing = [
        problem
        for namespace in namespaces
        if now - namespace.created >= required.grace
        for problem in _missing(namespace, required)
    ]
    return contradictions + missing


def _missing(namespace: Namespace, required: Required) -> Iterator[str]:
    if required.quota and not namespace.quotas:
        yield f"namespace {namespace.name}: has no ResourceQuota: its pods can use all resources of the cluster"
    if required.limit_range and not namespace.ranges:
        yield f"namespace {namespace.name}: has no LimitRange: its containers have only the limits in their own spec"


def _contradictions(namespace: Namespace) -> Iterator[str]:
    yield from _ranges_against_each_other(namespace)
    for quota in namespace.quotas:
        yield from _quota_against_ranges(namespace, quota)


def _ranges_against_each_other(namespace: Namespace) -> Iterator[str]:
    """Defaults of one LimitRange that others forbid; within one, the API server checks that."""
    for limit_range in namespace.ranges:
        for other in namespace.ranges:
            if limit_range is other:
                continue
            for kind in ("default", "defaultRequest"):
                yield from _defaults_outside(namespace, limit_range, other, kind)


def _defaults_outside(namespace: Namespace, limit_range: Json, other: Json, kind: str) -> Iterator[str]:
    for resource, value in _container(limit_range, kind).items():
        highest, lowest = _container(other, "max").get(resource), _container(other, "min").get(resource)
        prefix = f"namespace {namespace.name}: LimitRange {_name(limit_range)} has the {kind} {resource} {value}"
        if highest is not None and quantity(value) > quantity(highest):
            yield f"{prefix}, above the max {highest} of LimitRange {_name(other)}: pods without limits are refused"
        if lowest is not None and quantity(value) < quantity(lowest):
            yield f"{prefix}, below the min {lowest} of LimitRange {_name(other)}: pods without limits are refused"


def _quota_against_ranges(namespace: Namespace, quota: Json) -> Iterator[str]:
    spec = quota["spec"]
    if spec.get("scopes") or spec.get("scopeSelector"):
        return  # it counts only some pods, which are unknown here
    for resource, hard in (spec.get("hard") or {}).items():
        full = _COMPUTE.get(resource, resource)
        kind, dot, what = full.partition(".")
        if not dot or kind not in ("requests", "limits") or what not in ("cpu", "memory", "ephemeral-storage"):
            continue
        default = _default(namespace, kind, what)
        prefix = f"namespace {namespace.name}: ResourceQuota {_name(quota)} limits {full} to {hard}"
        if default is None:
            yield f"{prefix}, but no LimitRange has a default: pods without {kind}.{what} are refused"
        elif quantity(default[1]) > quantity(hard):
            yield f"{prefix}, less than the default {default[1]} of LimitRange {default[0]}: pods are refused"


def _default(namespace: Namespace, kind: str, what: str) -> tuple[str, str] | None:
    """The default of a container, and its LimitRange. A missing default request is the default limit."""
    keys = ("defaultRequest", "default") if kind == "requests" else ("default",)
    for key in keys:
        for limits in namespace.ranges:
            value = _container(limits, key).get(what)
            if value is not None:
                return _name(limits), value
    return None


def _container(limits: Json, kind: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in limits["spec"].get("limits") or []:
        if item.get("type") == "Container":
            found |= item.get(kind) or {}
    return found


def _name(body: Json) -> str:
    name: str = body["metadata"]["name"]
    return name
