"""The minimal /openapi/v3 from which kubectl learns that the server validates fields."""

from kubeprobe.localcluster.cluster import VERSION
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import ResourceTable

_PARAMETERS = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")]


def openapi(parts: list[str], resources: ResourceTable) -> Object | None:
    """The document of a group's version, or the list of them for the empty path; None for an unknown one."""
    match parts:
        case []:
            return {"paths": _documents(resources)}
        case ["api", "v1"]:
            return _document(resources, "", "v1")
        case ["apis", group, version] if resources.has_group(group, version):
            return _document(resources, group, version)
    return None


def _documents(resources: ResourceTable) -> Object:
    names = {f"apis/{r.api_version}" if r.group else f"api/{r.version}" for r in resources.all()}
    return {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in sorted(names)}


def _document(resources: ResourceTable, group: str, version: str) -> Object:
    paths: Object = {}
    for resource in resources.all():
        if (resource.group, resource.version) != (group, version) or resource.create_only:
            continue
        base = f"/apis/{resource.api_version}" if group else f"/api/{version}"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        kind = {"group": group, "version": version, "kind": resource.kind}
        patch = {"parameters": _PARAMETERS, "responses": {}, "x-kubernetes-group-version-kind": kind}
        paths[f"{base}{scope}/{resource.plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths}
