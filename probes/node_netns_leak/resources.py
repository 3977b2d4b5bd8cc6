"""A node's resources for pods: network namespaces, veths, mounts, directories, addresses, CNI results.

They are read before `existing_pods`, so that resources of new pods are not reported as leaks.
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
class NodePaths:
    """The paths of resources of pods, on the node."""

    root: Path
    """Where the node's `/` is mounted."""
    namespaces: tuple[str, ...]
    namespace_names: re.Pattern[str]
    interface_names: re.Pattern[str]
    kubelet: str
    results: tuple[str, ...]
    """Patterns of libcni's files for each interface."""
    addresses: tuple[str, ...]
    """Patterns of host-local's files for each assigned address."""

    def local_path(self, path: str) -> Path:
        """A path of the node, as in this process."""
        return self.root / path.lstrip("/")

    def node_path(self, path: Path) -> str:
        """A path, as on the node."""
        return "/" + str(path.relative_to(self.root))

    @property
    def pods(self) -> str:
        """The kubelet's directory of all pods, with a trailing slash."""
        return f"{self.kubelet.rstrip('/')}/pods/"


@dataclass(frozen=True)
class Resources:
    """A node's resources at one moment."""

    namespaces: Mapping[int, Path]
    """A file of each network namespace, by inode: a namespace may have several files, as /var/run links to /run."""
    veths: tuple[Link, ...]
    mounts: tuple[str, ...]
    """The mount points in the kubelet's directory of pods."""
    directories: tuple[Path, ...]
    addresses: Mapping[Path, str]
    """host-local's files -> the sandbox of each; empty if the file was deleted meanwhile."""
    results: Mapping[Path, str]
    """libcni's files -> the sandbox of each."""


def read(paths: NodePaths) -> Resources:
    """Read all resources. Raises links.NotListed and OSError."""
    return Resources(
        namespaces_in(paths),
        tuple(links.matching(links.veths(), paths.interface_names)),
        mounts_in(paths),
        tuple(sorted(paths.local_path(paths.pods).glob("*"))),
        addresses_in(paths),
        results_in(paths),
    )


def namespaces_in(paths: NodePaths) -> dict[int, Path]:
    """The network namespaces that CNI may have created, by their names."""
    files = (file for folder in paths.namespaces for file in sorted(paths.local_path(folder).glob("*")))
    found: dict[int, Path] = {}
    for file in files:
        if paths.namespace_names.search(file.name) and (number := inode_of(file)) is not None:
            found.setdefault(number, file)
    return found


def mounts_in(paths: NodePaths) -> tuple[str, ...]:
    """The mount points of pods: the fifth field of each line (proc_pid_mountinfo(5)), with blanks in octal."""
    lines = (paths.root / "proc/1/mountinfo").read_text("utf-8", "replace").split("\n")
    fields = (line.split(" ") for line in lines)
    points = (_ESCAPED.sub(lambda found: chr(int(found[1], 8)), found[4]) for found in fields if len(found) > 4)
    return tuple(point for point in points if point.startswith(paths.pods))


def addresses_in(paths: NodePaths) -> dict[Path, str]:
    """The addresses assigned by host-local."""
    files = (file for file in _files(paths, paths.addresses) if not file.name.startswith(_NOT_ADDRESSES))
    return {file: _owner(file) for file in files}


def results_in(paths: NodePaths) -> dict[Path, str]:
    """The files of libcni that name a sandbox."""
    owners = {file: _owner_of_result(file) for file in _files(paths, paths.results)}
    return {file: owner for file, owner in owners.items() if owner}


def inode_of(file: Path) -> int | None:
    """A file's inode; None if it was deleted."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _files(paths: NodePaths, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(file for file in paths.root.glob(pattern.lstrip("/")) if file.is_file())


def _owner(file: Path) -> str:
    """The sandbox of a host-local address: the file's first line; empty if the file was deleted meanwhile."""
    try:
        return file.read_text("utf-8", "replace").partition("\n")[0].strip()
    except FileNotFoundError:
        return ""


def _owner_of_result(file: Path) -> str:
    """The sandbox of a libcni result; empty if the file was deleted, is incomplete, or has another format."""
    try:
        return str(json.loads(file.read_text()).get("containerId", ""))
    except (FileNotFoundError, ValueError, AttributeError, RecursionError):
        return ""
