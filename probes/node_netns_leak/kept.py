"""What a node keeps for pods: network namespaces, veths, mounts, directories, addresses, CNI results.

It is read before `living`, so that what is made meanwhile cannot be taken for a leak. Next stage: `remains` compares.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from probes.node_netns_leak import links
from probes.node_netns_leak.links import Link

_NOT_ADDRESSES = ("last_reserved_ip", "lock")
_ESCAPED = re.compile(r"\\([0-7]{3})")


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

    @property
    def pods(self) -> str:
        """The kubelet's directory of all pods, with a slash at its end."""
        return f"{self.kubelet.rstrip('/')}/pods/"


@dataclass(frozen=True)
class Kept:
    """What a node keeps at one moment."""

    namespaces: Mapping[int, Path]
    """A file of each network namespace with a pod's name, by inode: /var/run is /run, so it may have several."""
    veths: tuple[Link, ...]
    mounts: tuple[str, ...]
    """The mount points below the kubelet's directory of pods."""
    directories: tuple[Path, ...]
    addresses: Mapping[Path, str]
    """host-local's files -> the sandbox that each is taken by; empty if the file went meanwhile."""
    results: Mapping[Path, str]
    """libcni's files -> the sandbox that each is kept for."""


def read(where: Where) -> Kept:
    """Raises links.NotListed and OSError."""
    return Kept(
        namespaces_in(where),
        tuple(links.named(links.veths(), where.interface_names)),
        mounts_in(where),
        tuple(sorted(where.here(where.pods).glob("*"))),
        addresses_in(where),
        results_in(where),
    )


def namespaces_in(where: Where) -> dict[int, Path]:
    """The network namespaces that CNI may have made, by their names."""
    files = (file for folder in where.namespaces for file in sorted(where.here(folder).glob("*")))
    found: dict[int, Path] = {}
    for file in files:
        if where.namespace_names.search(file.name) and (number := inode_of(file)) is not None:
            found.setdefault(number, file)
    return found


def mounts_in(where: Where) -> tuple[str, ...]:
    """The mount points of pods: the fifth field of each line (proc_pid_mountinfo(5)), with blanks in octal."""
    lines = (where.root / "proc/1/mountinfo").read_text().splitlines()
    points = (_ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in lines)
    return tuple(point for point in points if point.startswith(where.pods))


def addresses_in(where: Where) -> dict[Path, str]:
    """The addresses that host-local has given away."""
    files = (file for file in _files(where, where.addresses) if not file.name.startswith(_NOT_ADDRESSES))
    return {file: _owner(file) for file in files}


def results_in(where: Where) -> dict[Path, str]:
    """The files of libcni that name a sandbox."""
    owners = {file: _owner_of_result(file) for file in _files(where, where.results)}
    return {file: owner for file, owner in owners.items() if owner}


def inode_of(file: Path) -> int | None:
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
