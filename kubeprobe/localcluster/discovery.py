"""Discovery: versions, groups, resources, health."""

import platform

from kubeprobe.localcluster.cluster import VERSION
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.openapi import openapi
from kubeprobe.localcluster.resources import ResourceTable

HEALTH = ("healthz", "livez", "readyz")
"""Paths that answer `ok` without authentication."""


def version() -> Object:
    """The answer of /version."""
    major, minor, _ = VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{VERSION}+localcluster",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def discover(parts: list[str], resources: ResourceTable) -> Object | None:
    """The answer of /api, /apis, a group, its versions, and /openapi/v3; None for other paths."""
    found: Object | None = None
    match parts:
        case ["api"]:
            found = {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(_groups(resources).values())}
        case ["apis", group] if group in (groups := _groups(resources)):
            found = {"kind": "APIGroup", "apiVersion": "v1", **groups[group]}
        case ["api", "v1"]:
            found = _resource_list(resources, "", "v1")
        case ["apis", group, version] if resources.has_group(group, version):
            found = _resource_list(resources, group, version)
        case ["openapi", "v3", *rest]:
            found = openapi(rest, resources)
    return found


def _groups(resources: ResourceTable) -> dict[str, Object]:
    groups: dict[str, Object] = {}
    for resource in resources.all():
        if not resource.group:
            continue
        entry = {"groupVersion": resource.api_version, "version": resource.version}
        empty: Object = {"name": resource.group, "versions": [], "preferredVersion": entry}
        group = groups.setdefault(resource.group, empty)
        if entry not in group["versions"]:
            group["versions"].append(entry)
    return groups


def _resource_list(resources: ResourceTable, group: str, version: str) -> Object:
    entries = [
        entry
        for resource in resources.all()
        if (resource.group, resource.version) == (group, version)
        for entry in resource.discovery()
    ]
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}
