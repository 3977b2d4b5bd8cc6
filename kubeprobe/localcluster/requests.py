"""Parses path, query and body of a request as the real API server does. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import orjson

from kubeprobe.localcluster.cluster import LogOptions
from kubeprobe.localcluster.deletion import DeleteOptions
from kubeprobe.localcluster.errors import (
    Cause,
    bad_request,
    invalid,
    invalid_options,
    no_such_resource,
    unsupported_media_type,
)
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.registry import Target
from kubeprobe.localcluster.resources import PODS, ResourceTable
from kubeprobe.localcluster.selectors import Predicate, both, field_selector, label_selector

Query = Mapping[str, str]

_WATCH_SECONDS = 1800.0
_JSON_TYPES = ("application/json", "application/yaml")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The query of a list or watch."""

    selects: Predicate | None = None
    watch: bool = False
    resource_version: str = ""
    timeout_seconds: float = _WATCH_SECONDS
    bookmarks: bool = False
    initial_events: bool = False
    limit: int = 0
    next_page: str = ""
    table: bool = False
    """Answer with a `Table`, as `kubectl get` requests."""


def target_of(path: str, resources: ResourceTable) -> Target:
    """The object or collection that a path below a cluster names. Raises `ApiError` (404)."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_resource()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = resources.find(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise no_such_resource()
    name = rest[1] if len(rest) > 1 else ""
    if name and resource.namespaced and not namespace:
        raise no_such_resource()
    return Target(resource, namespace, name, rest[2] if len(rest) > 2 else "")


def list_options(query: Query, kind: str, accept: str = "") -> ListOptions:
    """The options of a list or watch. Raises `ApiError` (400)."""
    labels = label_selector(query.get("labelSelector", ""))
    fields = field_selector(query.get("fieldSelector", ""), kind)
    seconds = _integer(query, "timeoutSeconds") or 0
    return ListOptions(
        selects=both(labels, fields),
        watch=_flag(query, "watch"),
        resource_version=query.get("resourceVersion", ""),
        timeout_seconds=float(seconds) or _WATCH_SECONDS,
        bookmarks=_flag(query, "allowWatchBookmarks"),
        initial_events=_flag(query, "sendInitialEvents"),
        limit=_integer(query, "limit") or 0,
        next_page=query.get("continue", ""),
        table="as=Table" in accept,
    )


def delete_options(query: Query, body: Object) -> DeleteOptions:
    """The options of a deletion, from its query and its body (which takes precedence)."""
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds", _integer(query, "gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
    if body.get("orphanDependents"):
        propagation = "Orphan"
    if propagation not in ("Background", "Foreground", "Orphan"):
        listed = 'supported values: "Foreground", "Background", "Orphan", "nil"'
        message = f'Unsupported value: "{propagation}": {listed}'
        raise invalid_options("DeleteOptions", Cause("FieldValueNotSupported", message, "propagationPolicy"))
    return DeleteOptions(
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        grace_seconds=grace,
        propagation=propagation,
        dry_run=is_dry_run(query, "DeleteOptions") or bool(body.get("dryRun")),
    )


def log_options(query: Query, pod: str, now: datetime) -> LogOptions:
    """The options of a request for a pod's log. Raises `ApiError` (400, 422)."""
    tail, limit = _integer(query, "tailLines"), _integer(query, "limitBytes")
    causes = [
        Cause("FieldValueInvalid", f"Invalid value: {value}: must be greater than {bound}", field)
        for field, value, bound in (("tailLines", tail, "or equal to 0"), ("limitBytes", limit, "0"))
        if value is not None and value < (0 if field == "tailLines" else 1)
    ]
    if causes:
        raise invalid(replace(PODS, kind="PodLogOptions"), pod, causes)
    return LogOptions(
        container=query.get("container") or None,
        follow=_flag(query, "follow"),
        timestamps=_flag(query, "timestamps"),
        previous=_flag(query, "previous"),
        tail_lines=tail,
        limit_bytes=limit,
        since=_since(query, now),
    )


def _since(query: Query, now: datetime) -> datetime | None:
    """The time of the first line of a log that is requested."""
    if text := query.get("sinceTime"):
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            raise bad_request(f"invalid sinceTime: expected an RFC 3339 time, got {text}") from None
    seconds = _integer(query, "sinceSeconds")
    return now - timedelta(seconds=seconds) if seconds else None


def is_dry_run(query: Query, kind: str) -> bool:
    """Whether the request must not change anything. Raises `ApiError` (422) for another value than All."""
    value = query.get("dryRun", "")
    if value not in ("", "All"):
        message = f'Unsupported value: ["{value}"]: supported values: "All"'
        raise invalid_options(kind, Cause("FieldValueNotSupported", message, "dryRun"))
    return bool(value)


def decode(raw: bytes, content_type: str) -> Object:
    """The object in a body. Raises `ApiError` (400, 415)."""
    if content_type.endswith("/yaml"):
        return _decode_yaml(raw)
    if content_type not in ("application/json", "application/octet-stream", ""):
        raise unsupported_media_type(_JSON_TYPES)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the object provided is unrecognized (must be of type json): {error}") from error
    if not isinstance(value, dict):
        raise bad_request("the object provided is unrecognized (must be an object)")
    return value


def _decode_yaml(raw: bytes) -> Object:
    from ruamel.yaml import YAML  # noqa: PLC0415 -- slow to import, and rarely needed
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        value = YAML(typ="safe", pure=True).load(raw)
    except YAMLError as error:
        raise bad_request(f"the object provided is unrecognized (must be of type yaml): {error}") from error
    if not isinstance(value, dict):
        raise bad_request("the object provided is unrecognized (must be an object)")
    return value


def _flag(query: Query, name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true", "t")


def _integer(query: Query, name: str) -> int | None:
    value = query.get(name, "")
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None
