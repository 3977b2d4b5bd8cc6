"""Network interfaces of type veth, by iproute2: those of the node, and the peers of pods' interfaces."""

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

COMMAND_TIMEOUT = 10.0
"""Time limit for listing a namespace's interfaces, in seconds."""


class NotListed(Exception):  # noqa: N818
    """Interfaces cannot be listed; the text has the namespace and the error."""


@dataclass(frozen=True)
class Link:
    """One veth."""

    index: int
    name: str
    peer: int
    """The index of its peer, in the peer's namespace."""


def veths() -> list[Link]:
    """The veths of this process's network namespace."""
    return _listed([], "the node")


def peers_of(root: Path, namespaces: Iterable[str]) -> set[int]:
    """The indexes of the peers of all veths in these namespaces; namespaces that disappear are skipped."""
    found: set[int] = set()
    for path in namespaces:
        local_path = root / path.lstrip("/")
        try:
            found |= {link.peer for link in _listed(["nsenter", f"--net={local_path}"], str(local_path))}
        except NotListed:
            if local_path.is_mount():
                raise
    return found


def parse(output: str) -> list[Link]:
    """Parse the output of `ip -json link show`."""
    return [
        Link(link["ifindex"], link["ifname"], link.get("link_index", 0))
        # An interface whose peer is in the same namespace has its name instead: `"link": "veth2"`.
        for link in json.loads(output or "[]")
        if link
    ]


def matching(links: Iterable[Link], pattern: re.Pattern[str]) -> list[Link]:
    """The links that a CNI plugin may have created, by their names."""
    return [link for link in links if pattern.search(link.name)]


def _listed(prefix: list[str], source: str) -> list[Link]:
    command = [*prefix, "ip", "-json", "link", "show", "type", "veth"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotListed(f"cannot list the interfaces of {source}: {error}") from error
    if done.returncode:
        raise NotListed(f"cannot list the interfaces of {source}: {' '.join(done.stderr.split())}")
    return parse(done.stdout)
