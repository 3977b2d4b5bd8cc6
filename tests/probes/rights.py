"""Grants probes their RBAC rules in a cluster, exactly those of their templates or all but one verb."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from probes._api import Api, ApiError
from tests.probes.catalog import case_of, catalog_of, rights_of
from tests.probes.paths import Json

_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


@dataclass(frozen=True)
class Right:
    """One verb on one resource, from a template's rbac."""

    verb: str
    what: str
    """A resource such as `pods/log`, or a path."""
    optional: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.what}"


def each_right(folder: str) -> list[Right]:
    """Every right of a probe, in the order of its template."""
    [template] = catalog_of(folder).templates.values()
    permissions = (*template.rbac, *catalog_of(folder).case(case_of(folder)).rbac)
    found = [
        Right(verb, what, permission.optional)
        for permission in permissions
        for what in (*permission.resources, *permission.non_resource_urls)
        for verb in permission.verbs
    ]
    return list(dict.fromkeys(found))


def grant(api: Api, objects: Iterable[Json]) -> None:
    """Create or update these objects."""
    for body in objects:
        path = _path(body)
        try:
            api.create(path, body)
        except ApiError as error:
            if error.status != 409:
                raise
            _update(api, f"{path}/{body['metadata']['name']}", body)


def revoke(api: Api, objects: Iterable[Json]) -> None:
    """Delete the account and roles of these objects, not the namespace."""
    for body in objects:
        if body["kind"] != "Namespace":
            try:
                api.delete(f"{_path(body)}/{body['metadata']['name']}")
            except ApiError as error:
                if error.status != 404:
                    raise


def rights_without(folder: str, right: Right, account: str) -> list[Json]:
    """All rights of a probe except one, for an account of this name."""
    return [_renamed(body, account) for body in _without(rights_of(folder), right)]


def _without(objects: list[Json], right: Right) -> Iterator[Json]:
    for body in copy.deepcopy(objects):
        if "rules" in body:
            body["rules"] = [reduced for rule in body["rules"] for reduced in _reduced(rule, right)]
        yield body


def _reduced(rule: Json, right: Right) -> Iterator[Json]:
    """The rule, split so that only this verb on this resource is missing."""
    key = "nonResourceURLs" if "nonResourceURLs" in rule else "resources"
    others = [what for what in rule[key] if what != right.what]
    verbs = [verb for verb in rule["verbs"] if verb != right.verb]
    if right.what not in rule[key]:
        yield rule
        return
    if others:
        yield {**rule, key: others}
    if verbs:
        yield {**rule, key: [right.what], "verbs": verbs}


def _renamed(body: Json, account: str) -> Json:
    if body["kind"] == "Namespace":
        return body
    old = body["metadata"]["name"]
    new = f"{old.rpartition(':')[0]}:{account}" if ":" in old else account
    body["metadata"]["name"] = new
    if "roleRef" in body:
        body["roleRef"]["name"] = new
        body["subjects"][0]["name"] = account
    return body


def _path(body: Json) -> str:
    return _COLLECTIONS[body["kind"]].format(namespace=body["metadata"].get("namespace", ""))


def _update(api: Api, path: str, body: Json) -> None:
    if body["kind"] == "Namespace":
        api.patch(path, {"metadata": {"labels": body["metadata"]["labels"]}})
    elif body["kind"] != "ServiceAccount":
        api.replace(path, body)
