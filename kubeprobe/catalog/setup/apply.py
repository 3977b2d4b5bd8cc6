"""Applying setup objects to a cluster: missing ones are created, differing ones patched, all others left unchanged.

Next: `check` reports what is missing later.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kubeprobe import vocabulary
from kubeprobe.catalog.setup.objects import RBAC, Json
from kubeprobe.catalog.setup.pod_security import ENFORCE, LEVELS, security_of
from kubeprobe.catalog.snapshot import Catalog
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import UNANSWERED, Cause, ClusterError
from kubeprobe.jsonmodel import JsonModel

_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Role": f"/apis/{RBAC}/v1/namespaces/{{namespace}}/roles",
    "RoleBinding": f"/apis/{RBAC}/v1/namespaces/{{namespace}}/rolebindings",
    "ClusterRole": f"/apis/{RBAC}/v1/clusterroles",
    "ClusterRoleBinding": f"/apis/{RBAC}/v1/clusterrolebindings",
}
_MANAGER = {"fieldManager": vocabulary.MANAGED_BY}
_ESCALATION = "attempting to grant RBAC permissions not currently held"


class ObjectAction(StrEnum):
    """What was done with an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True)
class AppliedObject(JsonModel):
    """One object, and what was done with it."""

    kind: str
    namespace: str
    name: str
    action: ObjectAction
    detail: str = ""
    """Why it was refused, or which difference was left."""


async def apply_objects(api: ClusterApi, objects: Iterable[Json]) -> list[AppliedObject]:
    """Create or change these objects, one after the other; one that is refused does not stop the others.

    Raises ClusterError if the cluster is unreachable.
    """
    return [await _apply(api, body) for body in objects]


async def _apply(api: ClusterApi, body: Json) -> AppliedObject:
    try:
        action, detail = await _create_or_patch(api, body)
    except ClusterError as error:
        if error.cause in UNANSWERED:
            raise
        action, detail = ObjectAction.REFUSED, _explain(error)
    metadata = body["metadata"]
    return AppliedObject(body["kind"], metadata.get("namespace", ""), metadata["name"], action, detail)


async def _create_or_patch(api: ClusterApi, body: Json) -> tuple[ObjectAction, str]:
    collection = _COLLECTIONS[body["kind"]].format(namespace=body["metadata"].get("namespace", ""))
    path = f"{collection}/{body['metadata']['name']}"
    try:
        found = await api.call("GET", path)
    except ClusterError as error:
        if error.cause not in {Cause.NOT_FOUND, Cause.NAMESPACE_MISSING}:
            raise
        await api.call("POST", collection, query=_MANAGER, body=body)
        return ObjectAction.CREATED, ""
    if body.get("roleRef", found.get("roleRef")) != found.get("roleRef"):
        bound = found["roleRef"].get("name")
        return ObjectAction.REFUSED, f"it binds role {bound}; a roleRef is immutable, so delete the binding first"
    patch = _patch_for(body, found)
    if patch:
        await api.merge_patch(path, patch, query=_MANAGER)
    return (ObjectAction.CHANGED if patch else ObjectAction.UNCHANGED), _describe_kept_level(body, found)


def _patch_for(body: Json, found: Json) -> Json:
    """The merge patch from `found` to `body`; fields that others added stay. Empty: nothing differs."""
    patch: Json = {}
    labels = {key: value for key, value in body["metadata"]["labels"].items() if _label(found, key) != value}
    if body["kind"] == "Namespace" and not _is_stricter(_label(found, ENFORCE), _label(body, ENFORCE)):
        labels.pop(ENFORCE, None)  # the current level was chosen by somebody, and admits all probes
    if labels:
        patch["metadata"] = {"labels": labels}
    if _sorted_rules(body.get("rules")) != _sorted_rules(found.get("rules") if "rules" in body else None):
        patch["rules"] = body["rules"]
    if "subjects" in body and _subjects(body) != _subjects(found):
        patch["subjects"] = body["subjects"]
    return patch


def _describe_kept_level(body: Json, found: Json) -> str:
    current, wanted = _label(found, ENFORCE), _label(body, ENFORCE)
    if body["kind"] != "Namespace" or current == wanted or _is_stricter(current, wanted):
        return ""
    return f"its Pod Security level is left {current or 'unset'}; its probes comply with {wanted}"


def namespace_relaxation(namespace: Json, wanted: Json, catalog: Catalog, cases: Sequence[str]) -> str | None:
    """Why an existing namespace must enforce a less strict Pod Security level; None if it can stay as it is."""
    current = _label(namespace, ENFORCE)
    if not _is_stricter(current, _label(wanted, ENFORCE)):
        return None
    by_case = {case: security_of(catalog, case).violations(current) for case in cases}
    rejected = "; ".join(f"{case} ({', '.join(found)})" for case, found in by_case.items() if found)
    return (
        f"namespace {namespace['metadata']['name']} enforces the Pod Security level {current}, which rejects the pods "
        f"of {rejected}. It must enforce {_label(wanted, ENFORCE)}; or run these cases in a namespace of their own"
    )


def _is_stricter(level: str | None, other: str | None) -> bool:
    """Whether a level rejects pods that the other admits; without a label, all pods are admitted."""
    return level in LEVELS and other in LEVELS and LEVELS.index(level) > LEVELS.index(other)


def _label(body: Mapping[str, Any], key: str) -> str | None:
    found: str | None = (body["metadata"].get("labels") or {}).get(key)
    return found


def _sorted_rules(rules: Sequence[Json] | None) -> list[dict[str, list[str]]]:
    """The rules with all lists sorted, as their order has no meaning."""
    return [{key: sorted(value) for key, value in rule.items()} for rule in rules or ()]


def _subjects(body: Json) -> list[tuple[str | None, ...]]:
    return [tuple(one.get(key) for key in ("kind", "name", "namespace")) for one in body.get("subjects") or ()]


def _explain(error: ClusterError) -> str:
    if _ESCALATION in error.message:
        return "this user cannot grant permissions that it does not have (RBAC escalation); run it as a cluster admin"
    return error.message
