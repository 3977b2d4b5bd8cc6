"""Reads kube-proxy's nftables (`nft -j list table ip kube-proxy`), as of Kubernetes 1.31 and later.

Maps `service-ips` and `service-nodeports` map an address, protocol and port to a chain; it jumps, by further
chains, to those of endpoints, each of which translates the address. Chains are followed without interpreting
their names, as long ones are truncated. Source: pkg/proxy/nftables of Kubernetes.
"""

from collections.abc import Iterator
from typing import Any

from probes.kube_proxy_rules.rules import Rules, protocol
from probes.kube_proxy_rules.wanted import Backend, Front

Json = dict[str, Any]
_MAPS = ("service-ips", "service-nodeports", "no-endpoint-services", "no-endpoint-nodeports")


def parse(document: Json) -> Rules:
    """The rules in nft's JSON."""
    chains, maps = _read(document)
    rules = Rules("nftables")
    for name in ("no-endpoint-services", "no-endpoint-nodeports"):
        rules.fronts |= {_front(key): frozenset() for key, _verdict in maps.get(name, [])}
    for name in ("service-ips", "service-nodeports"):
        for key, verdict in maps.get(name, []):
            front = _front(key)
            backends, broken = _follow(_target(verdict), chains)
            if backends or front not in rules.fronts:
                rules.fronts[front] = frozenset(backends)
            if broken:
                rules.broken[front] = broken
    return rules


def _read(document: Json) -> tuple[dict[str, list[list[Json]]], dict[str, list[Any]]]:
    """The rules of each chain, and the elements of the maps that matter."""
    chains: dict[str, list[list[Json]]] = {}
    maps: dict[str, list[Any]] = {}
    for entry in document.get("nftables") or []:
        if rule := entry.get("rule"):
            chains.setdefault(rule["chain"], []).append(rule["expr"])
        elif chain := entry.get("chain"):
            chains.setdefault(chain["name"], [])
        elif (found := entry.get("map")) and found["name"] in _MAPS:
            maps[found["name"]] = found.get("elem") or []
    return chains, maps


def _front(key: Json) -> Front:
    """A map's key: address, protocol and port; a node port's has no address."""
    values = key.get("elem", {}).get("val", key).get("concat", []) if "elem" in key else key["concat"]
    address = str(values[0]) if len(values) == 3 else ""
    return Front(address, protocol(values[-2]), int(values[-1]))


def _follow(start: str, chains: dict[str, list[list[Json]]]) -> tuple[set[Backend], list[str]]:
    """The endpoints that a chain forwards to, and the chains on the path without a target."""
    backends: set[Backend] = set()
    broken: list[str] = []
    visited, pending = set(), [start]
    while pending:
        name = pending.pop()
        if name in visited:
            continue
        visited.add(name)
        expressions = chains.get(name)
        if expressions is None:
            broken.append(f"chain {name} is missing")
            continue
        endpoints = [backend for rule in expressions for backend in _translated(rule)]
        next_chains = [target for rule in expressions for target in _targets(rule)]
        backends.update(endpoints)
        pending += next_chains
        if not endpoints and not next_chains:
            broken.append(f"chain {name} has no target")
    return backends, sorted(broken)


def _translated(rule: list[Json]) -> Iterator[Backend]:
    for expression in rule:
        if dnat := expression.get("dnat"):
            yield str(dnat["addr"]), int(dnat["port"])


def _targets(rule: list[Json]) -> Iterator[str]:
    """The targets of an unconditional rule; a condition means an optimization or session affinity."""
    if any("match" in expression for expression in rule):
        return
    for expression in rule:
        if choice := expression.get("vmap"):
            for _number, verdict in choice["data"].get("set") or []:
                yield _target(verdict)
        for verdict in ("goto", "jump"):
            if verdict in expression and (target := _target(expression)) != "mark-for-masquerade":
                yield target


def _target(verdict: Json) -> str:
    for kind in ("goto", "jump"):
        if kind in verdict:
            return str(verdict[kind]["target"])
    return ""
