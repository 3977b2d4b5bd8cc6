"""What on a node belongs to nothing that lives there: namespaces, veths, mounts, sandboxes, addresses.

Next stage: `probe` looks twice, for what is just made or just taken away is no leak.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.node_netns_leak import links
from probes.node_netns_leak.living import Living

_NOT_ADDRESSES = ("last_reserved_ip", "lock")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_SHORT = 13  # characters of a sandbox's id, as crictl shows it


@dataclass(frozen=True)
class Where:
    """Where a node keeps what belongs to pods. Paths are the node's own."""

    root: Path
    """Where the node's `/` is seen."""
    namespaces: tuple[str, ...]
    namespace_names: re.Pattern[str]
    interface_names: re.Pattern[str]
    kubelet: str
    results: tuple[str, ...]
    """Patterns of the files that libcni keeps for each interface that it made."""
    addresses: tuple[str, ...]
    """Patterns of the files that host-local keeps for each address that is taken."""

    def here(self, path: str) -> Path:
        """A path of the node, as this process reaches it."""
        return self.root / path.lstrip("/")

    def shown(self, path: Path) -> str:
        """A path as the node knows it."""
        return "/" + str(path.relative_to(self.root))


@dataclass(frozen=True, order=True)
class Remains:
    """One thing that is left over."""

    kind: str
    """What measurements call it."""
    text: str


def of_namespaces(where: Where, living: Living) -> Iterator[Remains]:
    """Network namespaces with a CNI-like name that are no running sandbox's."""
    # /var/run is /run: one namespace has several paths, and only one inode.
    told = {_inode(where.here(path)) for path in living.namespaces} | {None}
    for folder in where.namespaces:
        for file in sorted(where.here(folder).glob("*")):
            if where.namespace_names.search(file.name) and (number := _inode(file)) not in told:
                told.add(number)
                yield Remains("namespaces", f"network namespace {where.shown(file)} belongs to no pod")


def of_links(where: Where, living: Living) -> Iterator[Remains]:
    """The node's veths whose other end is in no running sandbox. Raises links.NotListed."""
    ours = links.veths()  # first: a pod made meanwhile is in `living` no more than its veth is in this
    led_to = links.peers_of(where.root, living.namespaces)
    for link in links.named(ours, where.interface_names):
        if link.index not in led_to:
            yield Remains("veths", f"interface {link.name} of the node leads to no pod")


def of_mounts(where: Where, living: Living) -> Iterator[Remains]:
    """Mounts and directories that the kubelet has for pods that are no more."""
    pods = f"{where.kubelet.rstrip('/')}/pods/"
    mounted: set[str] = set()
    for point in _mount_points(where.root / "proc/1/mountinfo"):
        uid = point.removeprefix(pods).partition("/")[0]
        if point.startswith(pods) and uid not in living.pod_uids:
            mounted.add(uid)
            yield Remains("mounts", f"mount {point} belongs to no pod of this node")
    for folder in sorted(where.here(pods).glob("*")):
        if folder.name not in living.pod_uids | mounted:
            yield Remains("directories", f"directory {where.shown(folder)} belongs to no pod of this node")


def of_sandboxes(living: Living) -> Iterator[Remains]:
    """Sandboxes that run for pods which the API does not have on this node."""
    for sandbox in living.sandboxes:
        if sandbox.ready and sandbox.pod_uid not in living.pod_uids:
            yield Remains(
                "sandboxes", f"sandbox {sandbox.id[:_SHORT]} of pod {sandbox.name} runs, but there is no such pod"
            )


def of_network(where: Where, living: Living) -> Iterator[Remains]:
    """Addresses and results that CNI plugins keep for sandboxes that are no more."""
    for file in _files(where, where.addresses):
        if not file.name.startswith(_NOT_ADDRESSES) and (owner := _owner(file)) not in living.sandbox_ids:
            what = f"address {file.name} of network {file.parent.name} is taken by sandbox {owner[:_SHORT]}"
            yield Remains("addresses", f"{what}, which is no more ({where.shown(file)})")
    for file in _files(where, where.results):
        if (owner := _owner_of_result(file)) and owner not in living.sandbox_ids:
            yield Remains("results", f"{where.shown(file)} is kept for sandbox {owner[:_SHORT]}, which is no more")


def _inode(file: Path) -> int | None:
    """None if the file is no more."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _files(where: Where, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(file for file in where.root.glob(pattern.lstrip("/")) if file.is_file())


def _owner(file: Path) -> str:
    """The sandbox that host-local gave an address to: the file's first line; that itself, if it is gone by now."""
    try:
        return file.read_text().partition("\n")[0].strip()
    except FileNotFoundError:
        return ""


def _owner_of_result(file: Path) -> str:
    """The sandbox that libcni keeps a result for; empty if the file is gone, half written, or something else."""
    try:
        return str(json.loads(file.read_text()).get("containerId", ""))
    except (FileNotFoundError, ValueError, AttributeError):
        return ""


def _mount_points(table: Path) -> Iterator[str]:
    """The fifth field of each line (proc_pid_mountinfo(5)), in which blanks and the like are octal."""
    for line in table.read_text().splitlines():
        yield _ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4])
