"""The existing pods of a node: those in the API, and the runtime's sandboxes with their network namespaces."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes._api import Api
from probes._cri import Sandbox, network_namespace, sandboxes

PAGE_SIZE = 250

# A static pod's directory is named after this, not after the UID of its mirror in the API.
_STATIC_UID = ("kubernetes.io/config.hash", "kubernetes.io/config.mirror")


@dataclass(frozen=True)
class ExistingPods:
    """The pods and sandboxes that exist on the node."""

    pod_uids: frozenset[str]
    sandboxes: tuple[Sandbox, ...]
    namespaces: frozenset[str]
    """The network namespaces of running sandboxes, as paths on the node."""

    @property
    def sandbox_ids(self) -> frozenset[str]:
        """Ids of all sandboxes, including ended ones, whose resources are released when they are removed."""
        return frozenset(sandbox.id for sandbox in self.sandboxes)


def find(api: Api, node: str, socket: Path) -> ExistingPods:
    """Query runtime and API. Raises ApiError and RuntimeUnavailable.

    The runtime first: the API has a new pod before the runtime has its sandbox.
    """
    all_sandboxes = tuple(sandboxes(socket))
    namespaces = frozenset(network_namespace(socket, sandbox.id) for sandbox in all_sandboxes if sandbox.ready)
    uids: set[str] = set()
    for page in api.pages("/api/v1/pods", PAGE_SIZE, fieldSelector=f"spec.nodeName={node}"):
        uids |= uids_of(page)
    return ExistingPods(frozenset(uids), all_sandboxes, namespaces - {""})


def uids_of(pods: Iterable[dict[str, Any]]) -> set[str]:
    """The UIDs by which kubelet and runtime identify these pods."""
    found: set[str] = set()
    for pod in pods:
        annotations = pod["metadata"].get("annotations") or {}
        found |= {pod["metadata"]["uid"], *(annotations[name] for name in _STATIC_UID if name in annotations)}
    return found
