"""The leftovers of a run's probe in a cluster: of every kind in the API, in every namespace."""

from collections.abc import Iterator

from probes._api import Api, ApiError
from tests.probes.paths import Json

_RUN = "kubeprobe.io/run"
_known: dict[tuple[str, str], list[str]] = {}
"""Discovery takes 30 requests, so it is cached by server and its groups, which scenarios may extend."""
_EXCLUDED = {"events", "componentstatuses", "bindings"}


def left_by(api: Api, run: str) -> list[str]:
    """`kind namespace/name` of every object with this run's label, except the probe's own pod."""
    return [
        f"{body.get('kind', path.rpartition('/')[2])} {_name(body)}"
        for path in _collections(api)
        for body in _labelled(api, path, run)
        if "kubeprobe.io/case" not in body["metadata"].get("labels", {})
    ]


def remove_left_by(api: Api, run: str) -> None:
    """Delete all leftovers, as the administrator."""
    for path in _collections(api):
        for body in _labelled(api, path, run):
            if "kubeprobe.io/case" not in body["metadata"].get("labels", {}):
                _delete(api, path, body["metadata"])


def _delete(api: Api, path: str, metadata: Json) -> None:
    version, _, resource = path.rpartition("/")
    inside = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    try:
        api.delete(f"{version}{inside}/{resource}/{metadata['name']}", gracePeriodSeconds=0)
    except ApiError as error:
        if error.status not in (404, 405):
            raise


def _labelled(api: Api, path: str, run: str) -> list[Json]:
    try:
        found: list[Json] = api.get(path, labelSelector=f"{_RUN}={run}").get("items") or []
    except ApiError as error:
        if error.status in (404, 405, 503):  # its definition was removed, or its API server is unavailable
            return []
        raise
    return found


def _collections(api: Api) -> list[str]:
    preferred = [group["preferredVersion"]["groupVersion"] for group in api.get("/apis")["groups"]]
    key = api.access.server, " ".join(sorted(preferred))
    if key not in _known:
        versions = ["/api/v1", *(f"/apis/{version}" for version in preferred)]
        _known[key] = [path for version in versions for path in _of_version(api, version)]
    return _known[key]


def _of_version(api: Api, version: str) -> Iterator[str]:
    try:
        resources = api.get(version)["resources"]
    except ApiError:
        return  # an aggregated API whose server is unavailable
    for resource in resources:
        listed = {"list", "delete"} <= set(resource["verbs"])
        if listed and "/" not in resource["name"] and resource["name"] not in _EXCLUDED:
            yield f"{version}/{resource['name']}"


def _name(body: Json) -> str:
    metadata = body["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
