"""A node's resources that belong to no existing pod: namespaces, veths, mounts, sandboxes, addresses."""

from collections.abc import Iterator
from dataclasses import dataclass

from probes.node_netns_leak import links
from probes.node_netns_leak.kept import NodePaths, Resources, inode_of
from probes.node_netns_leak.living import ExistingPods

_SHORT = 13  # characters of a sandbox's id, as crictl shows it


@dataclass(frozen=True, order=True)
class Leftover:
    """One leftover."""

    kind: str
    """Its name in measurements."""
    text: str


def of(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """All resources that belong to no existing pod. Raises links.NotListed."""
    yield from of_namespaces(resources, existing, paths)
    yield from of_veths(resources, existing, paths)
    yield from of_mounts(resources, existing, paths)
    yield from of_sandboxes(existing)
    yield from of_network(resources, existing, paths)


def of_namespaces(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """Network namespaces with a CNI name that belong to no running sandbox."""
    owned = {inode_of(paths.local_path(path)) for path in existing.namespaces}
    for inode, file in resources.namespaces.items():
        if inode not in owned:
            yield Leftover("namespaces", f"network namespace {paths.node_path(file)} belongs to no pod")


def of_veths(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """The node's veths whose peer is in no running sandbox. Raises links.NotListed."""
    peers = links.peers_of(paths.root, existing.namespaces)
    for link in resources.veths:
        if link.index not in peers:
            yield Leftover("veths", f"interface {link.name} of the node leads to no pod")


def of_mounts(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """The kubelet's mounts and directories of deleted pods."""
    mounted: set[str] = set()
    for point in resources.mounts:
        uid = point.removeprefix(paths.pods).partition("/")[0]
        if uid not in existing.pod_uids:
            mounted.add(uid)
            yield Leftover("mounts", f"mount {point} belongs to no pod of this node")
    for folder in resources.directories:
        if folder.name not in existing.pod_uids | mounted:
            yield Leftover("directories", f"directory {paths.node_path(folder)} belongs to no pod of this node")


def of_sandboxes(existing: ExistingPods) -> Iterator[Leftover]:
    """Running sandboxes whose pods are not on this node according to the API."""
    for sandbox in existing.sandboxes:
        if sandbox.ready and sandbox.pod_uid not in existing.pod_uids:
            yield Leftover(
                "sandboxes", f"sandbox {sandbox.id[:_SHORT]} of pod {sandbox.name} runs, but there is no such pod"
            )


def of_network(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """Addresses and results of CNI plugins for removed sandboxes."""
    for file, owner in resources.addresses.items():
        if owner not in existing.sandbox_ids:
            what = f"address {file.name} of network {file.parent.name} is taken by sandbox {owner[:_SHORT]}"
            yield Leftover("addresses", f"{what}, which is no more ({paths.node_path(file)})")
    for file, owner in resources.results.items():
        if owner not in existing.sandbox_ids:
            yield Leftover("results", f"{paths.node_path(file)} is kept for sandbox {owner[:_SHORT]}, which is no more")
