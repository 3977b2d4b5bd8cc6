"""A node's resources that belong to no existing pod: namespaces, veths, mounts, sandboxes, addresses."""

from collections.abc import Iterator
from dataclasses import dataclass

from probes.node_netns_leak import links
from probes.node_netns_leak.existing_pods import ExistingPods
from probes.node_netns_leak.resources import NodePaths, Resources, inode_of

_SHORT = 13  # characters of a sandbox's id, as crictl shows it


@dataclass(frozen=True, order=True)
class Leftover:
    """One leftover."""

    kind: str
    """Its name in measurements."""
    text: str


def find(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """All resources that belong to no existing pod. Raises links.NotListed."""
    yield from leaked_namespaces(resources, existing, paths)
    yield from leaked_veths(resources, existing, paths)
    yield from leaked_mounts(resources, existing, paths)
    yield from leaked_sandboxes(existing)
    yield from leaked_cni_files(resources, existing, paths)


def leaked_namespaces(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """Network namespaces with a CNI name that belong to no running sandbox."""
    owned = {inode_of(paths.local_path(path)) for path in existing.namespaces}
    for inode, file in resources.namespaces.items():
        if inode not in owned:
            yield Leftover("namespaces", f"network namespace {paths.node_path(file)} belongs to no pod")


def leaked_veths(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """The node's veths whose peer is in no running sandbox. Raises links.NotListed."""
    peers = links.peers_of(paths.root, existing.namespaces)
    for link in resources.veths:
        if link.index not in peers:
            yield Leftover("veths", f"interface {link.name} of the node has no peer in a pod")


def leaked_mounts(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
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


def leaked_sandboxes(existing: ExistingPods) -> Iterator[Leftover]:
    """Running sandboxes whose pods are not on this node according to the API."""
    for sandbox in existing.sandboxes:
        if sandbox.ready and sandbox.pod_uid not in existing.pod_uids:
            yield Leftover(
                "sandboxes", f"sandbox {sandbox.id[:_SHORT]} runs for pod {sandbox.name}, which does not exist"
            )


def leaked_cni_files(resources: Resources, existing: ExistingPods, paths: NodePaths) -> Iterator[Leftover]:
    """Addresses and results of CNI plugins for removed sandboxes."""
    for file, owner in resources.addresses.items():
        if owner not in existing.sandbox_ids:
            what = f"address {file.name} of network {file.parent.name} is assigned to sandbox {owner[:_SHORT]}"
            yield Leftover("addresses", f"{what}, which does not exist ({paths.node_path(file)})")
    for file, owner in resources.results.items():
        if owner not in existing.sandbox_ids:
            what = f"CNI result {paths.node_path(file)} belongs to sandbox {owner[:_SHORT]}"
            yield Leftover("results", f"{what}, which does not exist")
