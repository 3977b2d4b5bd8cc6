"""What a node's rules really do, whichever mode kube-proxy runs in. Next stage: `comparing`."""

from dataclasses import dataclass, field

from probes.kube_proxy_rules.wanted import Backend, Front

PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}


@dataclass
class Rules:
    """The fronts that the node knows, and the endpoints that each leads to; none: refused or dropped."""

    mode: str
    """`nftables`, `iptables` or `ipvs`."""
    fronts: dict[Front, frozenset[Backend]] = field(default_factory=dict)
    broken: dict[Front, list[str]] = field(default_factory=dict)
    """Rules on a front's way that lead nowhere."""


def protocol(said: object) -> str:
    """A protocol's name, told as a name or a number."""
    return PROTOCOLS.get(str(said), str(said).lower())
