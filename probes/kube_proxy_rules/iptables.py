"""Reads kube-proxy's rules from `iptables-save -t nat`: KUBE-SERVICES -> KUBE-SVC-* -> KUBE-SEP-* -> DNAT.

Source: pkg/proxy/iptables of Kubernetes.
"""

import re
from dataclasses import dataclass, field

from probes.kube_proxy_rules.rules import Rules
from probes.kube_proxy_rules.wanted import Backend, Front

ENTRY, NODE_PORTS = "KUBE-SERVICES", "KUBE-NODEPORTS"
_FOLLOWED = ("KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-SVL-", "KUBE-XLB-", "KUBE-FW-")
_DESTINATION = re.compile(r"\[?(?P<host>[0-9a-fA-F.:]+?)\]?:(?P<port>\d+)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""Quoted text of iptables-save, with escaped quotes and backslashes: comments, which are ignored."""
_CONDITIONS = frozenset({"-s", "-i", "--src-type", "--rcheck"})
"""Options that limit a rule to some connections."""


@dataclass
class _Rule:
    target: str = ""
    destination: str = ""
    protocol: str = ""
    port: int = 0
    to: str = ""
    conditional: bool = False
    """For some sources only, by address or interface: an optimization, or session affinity."""


@dataclass
class _Table:
    chains: dict[str, list[_Rule]] = field(default_factory=dict)


def parse(saved: str) -> Rules:
    """The rules in the output of iptables-save or ip6tables-save."""
    table = _read(saved)
    rules = Rules("iptables")
    for chain in (ENTRY, NODE_PORTS):
        for rule in table.chains.get(chain, []):
            if not rule.port or not rule.target.startswith(_FOLLOWED):
                continue
            front = Front("" if chain == NODE_PORTS else rule.destination.partition("/")[0], rule.protocol, rule.port)
            backends, broken = _follow(rule.target, table)
            rules.fronts[front] = frozenset(backends)
            if broken:
                rules.broken[front] = broken
    return rules


def has_rules(saved: str) -> bool:
    """Whether the output of iptables-save has rules of kube-proxy."""
    return f"-A {ENTRY} " in saved


def _read(saved: str) -> _Table:
    table = _Table()
    for line in saved.splitlines():
        if line.startswith(":"):
            table.chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            # Ten times faster than shlex: large clusters have hundreds of thousands of rules.
            chain, *words = _QUOTED.sub('""', line[3:]).split()
            table.chains.setdefault(chain, []).append(_rule(words))
    return table


def _rule(words: list[str]) -> _Rule:
    rule = _Rule()
    values = dict(zip(words, [*words[1:], ""], strict=True))
    rule.target = values.get("-j") or values.get("-g") or ""
    rule.destination = values.get("-d", "")
    rule.protocol = values.get("-p", "")
    rule.port = int(values["--dport"]) if values.get("--dport", "").isdigit() else 0
    rule.to = values.get("--to-destination", "")
    rule.conditional = not _CONDITIONS.isdisjoint(words)
    return rule


def _follow(start: str, table: _Table) -> tuple[set[Backend], list[str]]:
    backends: set[Backend] = set()
    broken: list[str] = []
    visited, pending = set(), [start]
    while pending:
        name = pending.pop()
        if name in visited:
            continue
        visited.add(name)
        rules = table.chains.get(name)
        if rules is None:
            broken.append(f"chain {name} is missing")
            continue
        endpoints = [
            (found["host"], int(found["port"])) for rule in rules if (found := _DESTINATION.fullmatch(rule.to))
        ]
        # Conditions on sources are optimizations there; in KUBE-FW-* they are the load balancer's source ranges.
        by_policy = name.startswith(("KUBE-EXT-", "KUBE-XLB-"))
        next_chains = [
            rule.target for rule in rules if rule.target.startswith(_FOLLOWED) and not (by_policy and rule.conditional)
        ]
        backends.update(endpoints)
        pending += next_chains
        if not endpoints and not next_chains and not name.startswith("KUBE-SVL-"):
            broken.append(f"chain {name} has no target")
    return backends, sorted(broken)
