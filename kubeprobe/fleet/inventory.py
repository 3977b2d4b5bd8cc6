"""Objects of any kind in a cluster, by their metadata only: found by label, deleted by UID.

The path of each kind is discovered once. Next: `execution.leftovers` sweeps with it.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.transport import Request

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""A thousandth of the work for the API server, and no contents of Secrets. Old servers send whole objects."""
_NEEDED_VERBS = frozenset({"list", "delete"})


@dataclass(frozen=True)
class _Kind:
    """The path of a kind's objects."""

    version: str
    """`/api/v1`, `/apis/apps/v1`."""
    plural: str
    namespaced: bool


class Inventory:
    """The objects of one cluster. Methods raise ClusterError."""

    def __init__(self, api: ClusterApi) -> None:
        self.api = api
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._versions: dict[str, str] = {"": "/api/v1"}

    async def collection(self, group: str, resource: str, namespace: str = "") -> str | None:
        """The path of a kind's objects, in a namespace or everywhere; None where it cannot be listed and deleted."""
        kind = self._kinds.get((group, resource)) or await self._discover(group, resource)
        if kind is None:
            return None
        inside = f"/namespaces/{namespace}" if namespace and kind.namespaced else ""
        return f"{kind.version}{inside}/{kind.plural}"

    async def find(self, collection: str, selector: str) -> list[dict[str, Any]]:
        """The metadata of the objects that match a label selector, from the API server's cache."""
        query = {"labelSelector": selector, "resourceVersion": "0"}
        response = await self.api.send(Request("GET", collection, query, accept=METADATA_ONLY))
        return [item["metadata"] for item in orjson.loads(response.data).get("items") or ()]

    async def delete(self, collection: str, metadata: dict[str, Any]) -> None:
        """Delete the object with this UID, and what it owns; not an error if it is already deleted or replaced.

        `collection` may be that of all namespaces.
        """
        version, _, plural = collection.rpartition("/")
        version = version.partition("/namespaces/")[0]
        inside = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": metadata["uid"]},
            "propagationPolicy": "Background",
        }
        try:
            await self.api.call("DELETE", f"{version}{inside}/{plural}/{metadata['name']}", body=options)
        except ClusterError as error:
            if error.cause not in {Cause.NOT_FOUND, Cause.NAMESPACE_MISSING, Cause.CONFLICT}:
                raise

    async def _discover(self, group: str, resource: str) -> _Kind | None:
        if group not in self._versions:
            groups = (await self.api.call("GET", "/apis"))["groups"]
            self._versions |= {one["name"]: f"/apis/{one['preferredVersion']['groupVersion']}" for one in groups}
        if (version := self._versions.get(group)) is None:
            return None
        for one in (await self.api.call("GET", version))["resources"]:
            if "/" not in one["name"] and set(one["verbs"]) >= _NEEDED_VERBS:
                self._kinds[group, one["name"]] = _Kind(version, one["name"], one["namespaced"])
        return self._kinds.get((group, resource))
