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
        *_left_over(known, rules, family),
    ]


def _missing(wanted: Wanted, rules: Rules) -> Iterator[str]:
    if not wanted.backends:
        return
    where = f"Service {wanted.service} at {wanted.front}"
    found = rules.fronts.get(wanted.front)
    if found is None:
        yield f"{where} has no rule: connections to it lead nowhere"
        return
    for text in rules.broken.get(wanted.front, []):
        yield f"{where}: {text}"
    if not found:
        yield f"{where} refuses all connections, though {len(wanted.backends)} endpoints are ready"
    elif not wanted.some_suffice:
        for backend in sorted(wanted.backends - found):
            yield f"{where} is not led to {_named(backend, wanted)}, which is ready"


def _stale(wanted: Wanted, rules: Rules) -> Iterator[str]:
    for backend in sorted(rules.fronts.get(wanted.front, frozenset()) - wanted.backends):
        yield (
            f"Service {wanted.service} at {wanted.front} is led to {_host_port(backend)}, "
            "which is no ready endpoint of it: stale or wrong"
        )


def _left_over(known: set[Front], rules: Rules, family: int) -> Iterator[str]:
    for front in sorted(set(rules.fronts) - known):
        backends = rules.fronts[front]
        if backends and (not front.address or ipaddress.ip_address(front.address).version == family):
            targets = ", ".join(_host_port(backend) for backend in sorted(backends)[:3])
            yield f"{front} is led to {targets}, though no Service has it: left over"


def _named(backend: Backend, wanted: Wanted) -> str:
    pod = wanted.names.get(backend, "")
    return f"{_host_port(backend)} (pod {pod})" if pod else _host_port(backend)


def _host_port(backend: Backend) -> str:
    address, port = backend
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
