"""API Priority and Fairness: contradictory or ineffective FlowSchemas and priority levels.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

MANDATORY_LEVELS = ("exempt", "catch-all")
SUGGESTED_LEVELS = ("system", "node-high", "leader-election", "workload-high", "workload-low", "global-default")
"""The levels that every API server since 1.29 creates at its start."""
_MANDATORY_SCHEMAS = ("exempt", "catch-all")
_MAY_EXEMPT = {"exempt", "probes"}
"""Kubernetes' own schemas for administrators, and for health checks."""
_AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
_EVERYBODY = {"system:authenticated", "system:unauthenticated", "system:serviceaccounts", "*"}
_REJECTED = re.compile(r"^apiserver_flowcontrol_rejected_requests_total\{([^}]*)\} (\S+)", re.MULTILINE)
_STARTED = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Rejected = dict[tuple[str, str, str], float]
"""Rejected requests by FlowSchema, level and reason, since the API server's start."""


def problems(schemas: list[Json], levels: list[Json], altered_allowed: set[str]) -> list[str]:
    """Problems of schemas and levels, those that reject requests first."""
    by_name = {_name(level): level for level in levels}
    return [
        *_dangling(schemas, by_name),
        *_starved(schemas, by_name),
        *_missing(schemas, by_name),
        *_exempt(schemas, by_name),
        *_ambiguous(schemas),
        *_altered(schemas, levels, altered_allowed),
    ]


def _dangling(schemas: list[Json], levels: dict[str, Json]) -> Iterator[str]:
    for schema in schemas:
        level = _level_of(schema)
        if level not in levels:
            yield (
                f"FlowSchema {_name(schema)}: its priority level {level} does not exist, "
                "so its requests match other schemas or catch-all"
            )


def _starved(schemas: list[Json], levels: dict[str, Json]) -> Iterator[str]:
    """Levels without concurrency shares, which can only borrow from others."""
    for name, level in levels.items():
        limited = level["spec"].get("limited") or {}
        users = [_name(schema) for schema in schemas if _level_of(schema) == name]
        if level["spec"].get("type") != "Limited" or not users or limited.get("nominalConcurrencyShares") != 0:
            continue
        borrows = limited.get("borrowingLimitPercent")
        what = "are all rejected" if borrows == 0 else "depend on concurrency borrowed from other levels"
        yield (
            f"PriorityLevelConfiguration {name}: has no concurrency shares: "
            f"the requests of FlowSchemas {_listed(users)} {what}"
        )


def _missing(schemas: list[Json], levels: dict[str, Json]) -> Iterator[str]:
    for name in (*MANDATORY_LEVELS, *SUGGESTED_LEVELS):
        if name not in levels:
            kind = "mandatory" if name in MANDATORY_LEVELS else "suggested"
            yield f"PriorityLevelConfiguration {name}: is missing (one of Kubernetes' {kind} ones)"
    existing = {_name(schema) for schema in schemas}
    for name in _MANDATORY_SCHEMAS:
        if name not in existing:
            yield f"FlowSchema {name}: is missing (one of Kubernetes' mandatory ones)"


def _exempt(schemas: list[Json], levels: dict[str, Json]) -> Iterator[str]:
    """Schemas that exempt large groups from every limit."""
    for schema in schemas:
        level = levels.get(_level_of(schema))
        if _name(schema) in _MAY_EXEMPT or level is None or level["spec"].get("type") != "Exempt":
            continue
        everybody = sorted(set(_subjects(schema)) & _EVERYBODY)
        if everybody:
            yield (
                f"FlowSchema {_name(schema)}: exempts {_listed(everybody)} from all limits: "
                "one client can overload the API server"
            )


def _ambiguous(schemas: list[Json]) -> Iterator[str]:
    """Schemas of the same precedence with different levels: their names decide which one applies."""
    by_precedence: dict[int, list[Json]] = defaultdict(list)
    for schema in schemas:
        by_precedence[schema["spec"].get("matchingPrecedence", 1000)].append(schema)
    for precedence, schemas_of_precedence in sorted(by_precedence.items()):
        subjects = [set(_subjects(schema)) for schema in schemas_of_precedence]
        overlap = any(a & b for index, a in enumerate(subjects) for b in subjects[index + 1 :])
        if overlap and len({_level_of(schema) for schema in schemas_of_precedence}) > 1:
            names = _listed(sorted(f"{_name(schema)} (level {_level_of(schema)})" for schema in schemas_of_precedence))
            yield f"FlowSchemas {names}: have the same matchingPrecedence {precedence} for the same subjects"


def _altered(schemas: list[Json], levels: list[Json], allowed: set[str]) -> Iterator[str]:
    """Kubernetes' own objects that were modified, so that the API server no longer maintains them."""
    for kind, found in (("FlowSchema", schemas), ("PriorityLevelConfiguration", levels)):
        for body in found:
            annotations = body["metadata"].get("annotations") or {}
            if annotations.get(_AUTOUPDATE) == "false" and _name(body) not in allowed:
                yield (
                    f"{kind} {_name(body)}: was altered manually ({_AUTOUPDATE} is false), so the API server does not "
                    "update it; if that is intended, add it to ALLOW_ALTERED"
                )


def rejected(metrics: str) -> Rejected:
    """The requests that this API server has rejected since its start, from its `/metrics`."""
    found: Rejected = {}
    for labels, value in _REJECTED.findall(metrics):
        values = dict(_LABEL.findall(labels))
        found[values.get("flow_schema", ""), values.get("priority_level", ""), values.get("reason", "")] = float(value)
    return found


def started(metrics: str) -> str:
    """When this API server started, which distinguishes several behind the same address."""
    found = _STARTED.search(metrics)
    return found[1] if found else ""


def newly_rejected(before: Rejected, after: Rejected, seconds: float) -> list[str]:
    """The rejections between two readings, the highest number first."""
    more = {key: after[key] - before.get(key, 0.0) for key in after}
    return [
        f"PriorityLevelConfiguration {level}: rejected {count:.0f} requests of FlowSchema {schema} within "
        f"{seconds:.1f} s ({reason})"
        for (schema, level, reason), count in sorted(more.items(), key=lambda pair: -pair[1])
        if count > 0
    ]


def _subjects(schema: Json) -> Iterator[str]:
    for rule in schema["spec"].get("rules") or []:
        for subject in rule.get("subjects") or []:
            account = subject.get("serviceAccount")
            if account:
                every = account["name"] == "*"
                yield f"system:serviceaccounts:{account['namespace']}" + ("" if every else f":{account['name']}")
            else:
                yield (subject.get("user") or subject.get("group") or {}).get("name", "")


def _level_of(schema: Json) -> str:
    name: str = schema["spec"]["priorityLevelConfiguration"]["name"]
    return name


def _name(body: Json) -> str:
    name: str = body["metadata"]["name"]
    return name


def _listed(names: list[str]) -> str:
    return ", ".join(names)
