"""Why a namespace is not deleted: its conditions, with the names of the objects.

The namespace controller reports the groups it cannot discover, the remaining kinds and their finalizers.
This module finds the objects with finalizers, and the unavailable APIServices.
"""

import re
from typing import Any

from probes._api import Api, ApiError

Json = dict[str, Any]

_REMAINING = re.compile(r"([a-z0-9-]+)\.([a-z0-9.-]*) has \d+ resource instances")
_PROBLEM_CONDITIONS = (
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
)


def why_stuck(api: Api, namespace: Json) -> list[str]:
    """Why a namespace is not deleted, the most specific cause first."""
    messages = conditions(namespace)
    if not messages:
        return [why_not_processed(namespace)]
    found: list[str] = []
    if "NamespaceDeletionDiscoveryFailure" in messages:
        found += _unavailable_api_services(api)
    name = namespace["metadata"]["name"]
    for resource, group in remaining(messages.get("NamespaceContentRemaining", "")):
        found += _held_objects(api, name, resource, group)
    return [*found, *(f"{kind}: {message}" for kind, message in messages.items())]


def why_not_processed(namespace: Json) -> str:
    """Without conditions: the namespace controller has not processed it, or other finalizers hold it."""
    others = [one for one in namespace["metadata"].get("finalizers") or [] if one != "foregroundDeletion"]
    if others:
        return f"it is held by its own finalizers: {', '.join(others)}"
    held = ", ".join((namespace.get("spec") or {}).get("finalizers") or []) or "none"
    return f"the namespace controller (kube-controller-manager) has set no condition; finalizers in its spec: {held}"


def conditions(namespace: Json) -> dict[str, str]:
    """The messages of the conditions with problems, by type, causes before effects."""
    found = {
        one["type"]: (one.get("message") or one.get("reason") or "").strip()
        for one in (namespace.get("status") or {}).get("conditions") or []
        if one.get("status") == "True"
    }
    return {kind: found[kind] for kind in _PROBLEM_CONDITIONS if kind in found}


def remaining(message: str) -> list[tuple[str, str]]:
    """Resource and API group of the remaining objects, from `configmaps. has 1 resource instances, ...`."""
    return [(resource, group) for resource, group in _REMAINING.findall(message)]


def held(resource: str, group: str, objects: list[Json]) -> list[str]:
    """The objects that finalizers hold: `configmaps x is held by the finalizer example.com/backup`."""
    kind = f"{resource}.{group}" if group else resource
    return [
        f"{kind} {one['metadata']['name']} is held by the finalizer {', '.join(one['metadata']['finalizers'])}"
        for one in objects
        if one["metadata"].get("finalizers")
    ]


def unavailable(services: list[Json]) -> list[str]:
    """The APIServices whose backend does not answer: `APIService v1.metrics.example.com: ServiceNotFound: ...`."""
    found = []
    for service in services:
        for condition in (service.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "Available" and condition.get("status") != "True":
                reason = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
                found.append(f"APIService {service['metadata']['name']} is not available: {reason}")
    return found


def _unavailable_api_services(api: Api) -> list[str]:
    try:
        return unavailable(api.get("/apis/apiregistration.k8s.io/v1/apiservices").get("items") or [])
    except ApiError:  # the condition's message also has the group
        return []


def _held_objects(api: Api, namespace: str, resource: str, group: str) -> list[str]:
    try:
        root = "/api/v1"
        if group:
            root = f"/apis/{api.get(f'/apis/{group}')['preferredVersion']['groupVersion']}"
        return held(resource, group, api.get(f"{root}/namespaces/{namespace}/{resource}").get("items") or [])
    except (ApiError, LookupError):  # forbidden, or deleted meanwhile: the condition has the kind
        return []
