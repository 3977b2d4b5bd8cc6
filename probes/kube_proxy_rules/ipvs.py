"""Reads the kernel's IPVS table, /proc/net/ip_vs, which kube-proxy fills in mode `ipvs`.

Node ports have an entry for each of the node's addresses; they are recognized by their number.

"""

import ipaddress
import re

from probes.kube_proxy_rules.rules import Rules
from probes.kube_proxy_rules.wanted import Backend, Front

_FRONT = re.compile(r"(?P<protocol>TCP|UDP|SCTP)\s+(?P<address>\S+):(?P<port>[0-9A-F]{4})\s")
_BACKEND = re.compile(r"\s+->\s+(?P<address>\S+):(?P<port>[0-9A-F]{4})\s+\S+\s+(?P<weight>\d+)\s")


def parse(table: str, own_addresses: set[str], node_ports: set[int]) -> Rules:
    """The rules in the kernel's table, of both address families."""
    rules = Rules("ipvs")
    found: dict[Front, set[Backend]] = {}
    front: Front | None = None
    for line in table.splitlines():
        if match := _FRONT.match(line):
            address, port = _address(match["address"]), int(match["port"], 16)
            is_node_port = port in node_ports and address in own_addresses
            front = Front("" if is_node_port else address, match["protocol"].lower(), port)
            found.setdefault(front, set())
        elif (match := _BACKEND.match(line)) and front is not None and int(match["weight"]):
            # Weight 0: no new connections, existing ones continue.
            found[front].add((_address(match["address"]), int(match["port"], 16)))
    rules.fronts = {front: frozenset(backends) for front, backends in found.items()}
    return rules


def _address(text: str) -> str:
    if text.startswith("["):
        return str(ipaddress.ip_address(text.strip("[]")))
    return str(ipaddress.ip_address(int(text, 16)))
