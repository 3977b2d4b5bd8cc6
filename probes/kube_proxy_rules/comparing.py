"""Compares the rules that Services need with the node's actual rules, and describes each difference. Pure."""

import ipaddress
from collections.abc import Iterator

from probes.kube_proxy_rules.rules import Rules
from probes.kube_proxy_rules.wanted import Backend, Front, Wanted


def problems(wanted: list[Wanted], rules: Rules, family: int) -> list[str]:
    """Every difference, the most harmful first: missing, wrong, stale."""
    known = {one.front for one in wanted}
    return [
        *(problem for one in wanted for problem in _missing(one, rules)),
        *(problem for one in wanted for problem in _stale(one, rules)),
        *_unused(known, rules, family),
    ]


def _missing(wanted: Wanted, rules: Rules) -> Iterator[str]:
    if not wanted.backends:
        return
    where = f"Service {wanted.service} at {wanted.front}"
    found = rules.fronts.get(wanted.front)
    if found is None:
        yield f"{where} has no rule: connections to it fail"
        return
    for text in rules.broken.get(wanted.front, []):
        yield f"{where}: {text}"
    if not found:
        yield f"{where} refuses all connections, though {len(wanted.backends)} endpoints are ready"
    elif not wanted.some_suffice:
        for backend in sorted(wanted.backends - found):
            yield f"{where} does not forward to {_named(backend, wanted)}, which is ready"


def _stale(wanted: Wanted, rules: Rules) -> Iterator[str]:
    for backend in sorted(rules.fronts.get(wanted.front, frozenset()) - wanted.backends):
        yield (
            f"Service {wanted.service} at {wanted.front} forwards to {_host_port(backend)}, "
            "which is not a ready endpoint of it: stale or wrong rule"
        )


def _unused(known: set[Front], rules: Rules, family: int) -> Iterator[str]:
    for front in sorted(set(rules.fronts) - known):
        backends = rules.fronts[front]
        if backends and (not front.address or ipaddress.ip_address(front.address).version == family):
            targets = ", ".join(_host_port(backend) for backend in sorted(backends)[:3])
            yield f"{front} forwards to {targets}, but no Service has this address and port: stale rule"


def _named(backend: Backend, wanted: Wanted) -> str:
    pod = wanted.names.get(backend, "")
    return f"{_host_port(backend)} (pod {pod})" if pod else _host_port(backend)


def _host_port(backend: Backend) -> str:
    address, port = backend
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
