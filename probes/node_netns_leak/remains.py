"""A node's resources that belong to no existing pod: namespaces, veths, mounts, sandboxes, addresses."""

from collections.abc import Iterator
from dataclasses import dataclass

from probes.node_netns_leak import links
from probes.node_netns_leak.kept import Kept, Where, inode_of
from probes.node_netns_leak.living import Living

_SHORT = 13  # characters of a sandbox's id, as crictl shows it


@dataclass(frozen=True, order=True)
class Remains:
    """One leftover."""

    kind: str
    """Its name in measurements."""
    text: str


def of(kept: Kept, living: Living, where: Where) -> Iterator[Remains]:
    """All resources that belong to no existing pod. Raises links.NotListed."""
    yield from of_namespaces(kept, living, where)
    yield from of_veths(kept, living, where)
    yield from of_mounts(kept, living, where)
    yield from of_sandboxes(living)
    yield from of_network(kept, living, where)


def of_namespaces(kept: Kept, living: Living, where: Where) -> Iterator[Remains]:
    """Network namespaces with a CNI name that belong to no running sandbox."""
    owned = {inode_of(where.here(path)) for path in living.namespaces}
    for inode, file in kept.namespaces.items():
        if inode not in owned:
            yield Remains("namespaces", f"network namespace {where.shown(file)} belongs to no pod")


def of_veths(kept: Kept, living: Living, where: Where) -> Iterator[Remains]:
    """The node's veths whose peer is in no running sandbox. Raises links.NotListed."""
    led_to = links.peers_of(where.root, living.namespaces)
    for link in kept.veths:
        if link.index not in led_to:
            yield Remains("veths", f"interface {link.name} of the node leads to no pod")


def of_mounts(kept: Kept, living: Living, where: Where) -> Iterator[Remains]:
    """The kubelet's mounts and directories of deleted pods."""
    mounted: set[str] = set()
    for point in kept.mounts:
        uid = point.removeprefix(where.pods).partition("/")[0]
        if uid not in living.pod_uids:
            mounted.add(uid)
            yield Remains("mounts", f"mount {point} belongs to no pod of this node")
    for folder in kept.directories:
        if folder.name not in living.pod_uids | mounted:
            yield Remains("directories", f"directory {where.shown(folder)} belongs to no pod of this node")


def of_sandboxes(living: Living) -> Iterator[Remains]:
    """Running sandboxes whose pods are not on this node according to the API."""
    for sandbox in living.sandboxes:
        if sandbox.ready and sandbox.pod_uid not in living.pod_uids:
            yield Remains(
                "sandboxes", f"sandbox {sandbox.id[:_SHORT]} of pod {sandbox.name} runs, but there is no such pod"
            )


def of_network(kept: Kept, living: Living, where: Where) -> Iterator[Remains]:
    """Addresses and results of CNI plugins for removed sandboxes."""
    for file, owner in kept.addresses.items():
        if owner not in living.sandbox_ids:
            what = f"address {file.name} of network {file.parent.name} is taken by sandbox {owner[:_SHORT]}"
            yield Remains("addresses", f"{what}, which is no more ({where.shown(file)})")
    for file, owner in kept.results.items():
        if owner not in living.sandbox_ids:
            yield Remains("results", f"{where.shown(file)} is kept for sandbox {owner[:_SHORT]}, which is no more")
