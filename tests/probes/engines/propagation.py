"""A federation's propagation: each ConfigMap of the hub's that asks for it has a copy in every member.

python -m tests.probes.engines.propagation HUB_KUBECONFIG keep|remove MEMBER_KUBECONFIG=SERVER ...
"""

import sys
from pathlib import Path

from probes._api import Api, ApiError
from tests.probes.engines.loop import Json, again_and_again, api_of, unless_missing

LABEL = "kubeprobe.io/propagate"
COPY = "kubeprobe.io/propagated"


class Propagation:
    """The hub and its members."""

    def __init__(self, hub: Api, members: list[Api], *, remove: bool) -> None:
        self.hub = hub
        self.members = members
        self.remove = remove

    def sync(self) -> None:
        """Make each member as the hub is; one that cannot be reached does not keep the others from it."""
        wanted = {_key(found): found for found in self.hub.get("/api/v1/configmaps", labelSelector=LABEL)["items"]}
        for member in self.members:
            try:
                self._make(member, wanted)
            except ApiError as error:
                sys.stderr.write(f"{error}\n")

    def _make(self, member: Api, wanted: dict[tuple[str, str], Json]) -> None:
        there = {_key(found) for found in member.get("/api/v1/configmaps", labelSelector=COPY)["items"]}
        for namespace, name in wanted.keys() - there:
            body = {
                "metadata": {"name": name, "labels": {COPY: "true"}},
                "data": wanted[namespace, name].get("data", {}),
            }
            path = f"/api/v1/namespaces/{namespace}/configmaps"
            unless_missing(lambda path=path, body=body: member.create(path, body))  # type: ignore[misc]
        for namespace, name in there - wanted.keys() if self.remove else ():
            path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
            unless_missing(lambda path=path: member.delete(path))  # type: ignore[misc]


def _key(found: Json) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


if __name__ == "__main__":
    hub_kubeconfig, mode, *links = sys.argv[1:]
    apis = [api_of(Path(kubeconfig), server) for kubeconfig, _, server in (link.partition("=") for link in links)]
    again_and_again(Propagation(api_of(Path(hub_kubeconfig)), apis, remove=mode == "remove").sync)
