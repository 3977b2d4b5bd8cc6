"""Network interfaces of kind veth, by iproute2: those of the node, and those that pods' ends lead to.

Next stages: `kept` lists the node's, `remains` compares.
"""

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

COMMAND_TIMEOUT = 10.0
"""Seconds that listing a namespace's interfaces may take."""


class NotListed(Exception):  # noqa: N818
    """Interfaces that cannot be listed: where, and why."""


@dataclass(frozen=True)
class Link:
    """One veth."""

    index: int
    name: str
    peer: int
    """Index of its other end, in whatever namespace that is."""


def veths() -> list[Link]:
    """Those of the network namespace that this process is in."""
    return _listed([], "the node")


def peers_of(root: Path, namespaces: Iterable[str]) -> set[int]:
    """The indexes of the other ends of all veths in these namespaces. One that is just going has none."""
    found: set[int] = set()
    for path in namespaces:
        here = root / path.lstrip("/")
        try:
            found |= {link.peer for link in _listed(["nsenter", f"--net={here}"], str(here))}
        except NotListed:
            if here.is_mount():
                raise
    return found


def parse(told: str) -> list[Link]:
    """What `ip -json link show` prints."""
    return [
        Link(link["ifindex"], link["ifname"], link.get("link_index", 0))
        # An interface whose other end is in the same namespace names that instead: `"link": "veth2"`.
        for link in json.loads(told or "[]")
        if link
    ]


def named(links: Iterable[Link], pattern: re.Pattern[str]) -> list[Link]:
    """Those that a CNI plugin may have made, by their names."""
    return [link for link in links if pattern.search(link.name)]


def _listed(inside: list[str], place: str) -> list[Link]:
    command = [*inside, "ip", "-json", "link", "show", "type", "veth"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotListed(f"interfaces of {place}: {error}") from error
    if done.returncode:
        raise NotListed(f"interfaces of {place}: {' '.join(done.stderr.split())}")
    return parse(done.stdout)
