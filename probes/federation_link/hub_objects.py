"""The objects for the hub: manifests with placeholders, and the paths of their collections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import yaml

from probes._api import Api, ApiError

Json = dict[str, Any]

_MEMBER = "${member}"


class ManifestError(ValueError):
    """An invalid manifest; the text is the cause."""


@dataclass(frozen=True)
class HubObject:
    """An object to create on the hub."""

    collection: str
    """The path of its collection."""
    body: Json

    @property
    def path(self) -> str:
        """The object's own path."""
        return f"{self.collection}/{self.body['metadata']['name']}"


def manifests(text: str, values: Mapping[str, str], members: Sequence[str]) -> list[Json]:
    """The YAML documents with `${name}` and `${namespace}` filled in; one with `${member}` is repeated for each member.

    Raises ManifestError.
    """
    found: list[Json] = []
    for document in text.split("\n---"):
        for member in members if _MEMBER in document else ("",):
            found += _read(document, {**values, "member": member})
    if not found:
        raise ManifestError("expected at least one YAML document, got none")
    return found


def _read(document: str, values: Mapping[str, str]) -> list[Json]:
    try:
        filled = Template(document).substitute(values)
    except (KeyError, ValueError) as error:
        raise ManifestError(f"placeholder {error}: expected ${{name}}, ${{namespace}} or ${{member}}") from error
    try:
        body = yaml.safe_load(filled)
    except yaml.YAMLError as error:
        raise ManifestError(" ".join(str(error).split())) from error
    if body is None:
        return []
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(metadata, dict) or not metadata.get("name") or not {"apiVersion", "kind"} <= body.keys():
        raise ManifestError(f"expected apiVersion, kind and metadata.name in {filled.strip()[:80]!r}")
    if values["name"] not in str(metadata["name"]):
        problem = f"metadata.name is {metadata['name']!r}, expected it to contain ${{name}}"
        raise ManifestError(f"{problem}: the probe deletes this object, so its name must belong to this run")
    return [body]


def hub_object_of(api: Api, body: Json) -> HubObject:
    """The object and the path of its collection. Raises ApiError, with status 404 for an unknown kind."""
    version, kind = body["apiVersion"], body["kind"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    for resource in api.get(prefix)["resources"]:
        if resource["kind"] == kind and "/" not in resource["name"]:
            namespace = body["metadata"].get("namespace", "default")
            within = f"/namespaces/{namespace}" if resource["namespaced"] else ""
            return HubObject(f"{prefix}{within}/{resource['name']}", body)
    raise ApiError(f"the hub's API has no kind {kind} in {version}", 404)


def labelled(body: Json, labels: Mapping[str, str]) -> Json:
    """The object with additional labels, so that KubeProbe can delete the leftovers of a killed run."""
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}
