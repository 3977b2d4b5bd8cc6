"""Bringing what cases need into a cluster: created where it is missing, changed where it differs, else left alone.

Next: `checking` tells later what has got lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kubeprobe import vocabulary
from kubeprobe.catalog.render import pod_spec_of
from kubeprobe.catalog.setup.objects import RBAC, Json
from kubeprobe.catalog.setup.security import ENFORCE, LEVELS, departures
from kubeprobe.catalog.snapshot import Catalog
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
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


class Doing(StrEnum):
    """What was done about an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True)
class Applied(JsonModel):
    """One object, and what was done about it."""

    kind: str
    namespace: str
    name: str
    done: Doing
    told: str = ""
    """Why it was refused, or what was left as it is."""


async def apply_objects(api: ClusterApi, objects: Iterable[Json]) -> list[Applied]:
    """Create or change these objects, one after the other: what is refused keeps no other from being made.

    Raises ClusterError where the cluster does not answer.
    """
    return [await _apply(api, body) for body in objects]


async def _apply(api: ClusterApi, body: Json) -> Applied:
    try:
        done, told = await _make_so(api, body)
    except ClusterError as error:
        if error.cause is Cause.CLUSTER_UNREACHABLE:
            raise
        done, told = Doing.REFUSED, _explained(error)
    metadata = body["metadata"]
    return Applied(body["kind"], metadata.get("namespace", ""), metadata["name"], done, told)


async def _make_so(api: ClusterApi, body: Json) -> tuple[Doing, str]:
    collection = _COLLECTIONS[body["kind"]].format(namespace=body["metadata"].get("namespace", ""))
    path = f"{collection}/{body['metadata']['name']}"
    try:
        found = await api.call("GET", path)
    except ClusterError as error:
        if error.cause not in {Cause.NOT_FOUND, Cause.NAMESPACE_MISSING}:
            raise
        await api.call("POST", collection, query=_MANAGER, body=body)
        return Doing.CREATED, ""
    if body.get("roleRef", found.get("roleRef")) != found.get("roleRef"):
        told = f"it binds {found['roleRef'].get('name')}, and what a binding binds cannot be changed: delete it first"
        return Doing.REFUSED, told
    wanted = _difference(body, found)
    if wanted:
        await api.merge_patch(path, wanted, query=_MANAGER)
    return (Doing.CHANGED if wanted else Doing.UNCHANGED), _left_as_it_is(body, found)


def _difference(body: Json, found: Json) -> Json:
    """The merge patch that makes an object what it has to be; what others added stays. Empty: it is so."""
    patch: Json = {}
    labels = {key: value for key, value in body["metadata"]["labels"].items() if _label(found, key) != value}
    if body["kind"] == "Namespace" and not _is_stricter(_label(found, ENFORCE), _label(body, ENFORCE)):
        labels.pop(ENFORCE, None)  # somebody chose it, and it keeps no probe from running
    if labels:
        patch["metadata"] = {"labels": labels}
    if _plain(body.get("rules")) != _plain(found.get("rules") if "rules" in body else None):
        patch["rules"] = body["rules"]
    if "subjects" in body and _subjects(body) != _subjects(found):
        patch["subjects"] = body["subjects"]
    return patch


def _left_as_it_is(body: Json, found: Json) -> str:
    there, wanted = _label(found, ENFORCE), _label(body, ENFORCE)
    if body["kind"] != "Namespace" or there == wanted or _is_stricter(there, wanted):
        return ""
    return f"its Pod Security level is left {there or 'unset'}; its probes comply with {wanted}"


def loosening(namespace: Json, wanted: Json, catalog: Catalog, cases: Sequence[str]) -> str | None:
    """Why a namespace that exists has to enforce less than it does; None where it may stay as it is."""
    there = _label(namespace, ENFORCE)
    if not _is_stricter(there, _label(wanted, ENFORCE)):
        return None
    odd = {case: departures(pod_spec_of(catalog, case)) for case in cases}
    why = "; ".join(f"{case} ({', '.join(parts)})" for case, parts in odd.items() if parts)
    return (
        f"namespace {namespace['metadata']['name']} enforces the Pod Security level {there}, which refuses the pods of "
        f"{why}. It has to enforce {_label(wanted, ENFORCE)}; or give these cases' clusters a namespace of their own"
    )


def _is_stricter(there: str | None, wanted: str | None) -> bool:
    """Whether a level refuses pods that another admits; without a label, all are admitted."""
    return there in LEVELS and wanted in LEVELS and LEVELS.index(there) > LEVELS.index(wanted)


def _label(body: Mapping[str, Any], key: str) -> str | None:
    found: str | None = (body["metadata"].get("labels") or {}).get(key)
    return found


def _plain(rules: Sequence[Json] | None) -> list[dict[str, list[str]]]:
    """Rules without the order of what has none."""
    return [{key: sorted(value) for key, value in rule.items()} for rule in rules or ()]


def _subjects(body: Json) -> list[tuple[str | None, ...]]:
    return [tuple(one.get(key) for key in ("kind", "name", "namespace")) for one in body.get("subjects") or ()]


def _explained(error: ClusterError) -> str:
    if _ESCALATION in error.message:
        return "this user may not give away rights that it does not have itself (RBAC escalation); do it as an admin"
    return error.message
