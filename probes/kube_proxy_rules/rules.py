"""The actual rules of a node, independent of kube-proxy's mode."""

from dataclasses import dataclass, field

from probes.kube_proxy_rules.wanted import Backend, Front

PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}


@dataclass
class Rules:
    """The node's fronts, and the endpoints of each; without endpoints, connections are refused or dropped."""

    mode: str
    """`nftables`, `iptables` or `ipvs`."""
    fronts: dict[Front, frozenset[Backend]] = field(default_factory=dict)
    broken: dict[Front, list[str]] = field(default_factory=dict)
    """Rules of a front without a target."""


def protocol(name_or_number: object) -> str:
    """A protocol's name, from its name or number."""
    return PROTOCOLS.get(str(name_or_number), str(name_or_number).lower())
