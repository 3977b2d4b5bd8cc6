"""What lives on a node: the pods that the API has for it, and the runtime's sandboxes with their network namespaces.

Next stage: `remains` is what of `kept` belongs to none of them.
"""

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
class Living:
    """All that has a right to be on the node."""

    pod_uids: frozenset[str]
    sandboxes: tuple[Sandbox, ...]
    namespaces: frozenset[str]
    """Paths on the node of the network namespaces of sandboxes that run."""

    @property
    def sandbox_ids(self) -> frozenset[str]:
        """Of those that have ended too: what they hold is given back when they are removed."""
        return frozenset(sandbox.id for sandbox in self.sandboxes)


def find(api: Api, node: str, socket: Path) -> Living:
    """Ask runtime and API. Raises ApiError and RuntimeSilent.

    The runtime first: of what is made meanwhile the API knows the pod before the runtime knows the sandbox.
    """
    known = tuple(sandboxes(socket))
    namespaces = frozenset(network_namespace(socket, sandbox.id) for sandbox in known if sandbox.ready)
    uids: set[str] = set()
    for page in api.pages("/api/v1/pods", PAGE_SIZE, fieldSelector=f"spec.nodeName={node}"):
        uids |= uids_of(page)
    return Living(frozenset(uids), known, namespaces - {""})


def uids_of(pods: Iterable[dict[str, Any]]) -> set[str]:
    """The UIDs by which a kubelet and a runtime know these pods."""
    found: set[str] = set()
    for pod in pods:
        annotations = pod["metadata"].get("annotations") or {}
        found |= {pod["metadata"]["uid"], *(annotations[name] for name in _STATIC_UID if name in annotations)}
    return found
