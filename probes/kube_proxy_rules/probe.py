"""Compares Services and EndpointSlices with kube-proxy's rules on this node.

Differences are checked again after SETTLE seconds, as rules follow changes with a delay: what differs
both times is a fault. Parameters: MODE, SETTLE (README.md).
"""

import os
import sys
import time
from dataclasses import dataclass

from kubeprobe_client import give_up, main, measure, report_failure, run, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._parameters import number, text
from probes.kube_proxy_rules import comparing, wanted
from probes.kube_proxy_rules.node import RulesUnreadable, rules_of
from probes.kube_proxy_rules.wanted import Json

PAGE_SIZE = 500
MODES = ("auto", "nftables", "iptables", "ipvs")
ROUND = 2.0
"""Seconds between two comparisons while something differs."""


@dataclass(frozen=True)
class Comparison:
    """One comparison: the differences, and how much was compared."""

    problems: list[str]
    fronts: int
    modes: tuple[str, ...]


def compare(api: Api, node: str, mode: str) -> Comparison:
    """Compare once."""
    services = _all(api, "/api/v1/services")
    slices = _all(api, "/apis/discovery.k8s.io/v1/endpointslices")
    node_ports = {
        port["nodePort"] for one in services for port in one["spec"].get("ports") or [] if port.get("nodePort")
    }
    problems: list[str] = []
    fronts = 0
    modes: set[str] = set()
    unreadable: list[str] = []
    for family in (4, 6):
        expected = wanted.read(services, slices, node, family)
        try:
            found = rules_of(family, node_ports, mode)
        except RulesUnreadable as error:
            unreadable.append(str(error))
            continue
        modes.update(rules.mode for rules in found)
        fronts += len(expected)
        if found:
            problems += comparing.problems(expected, found[0], family)
    if unreadable and not problems:
        give_up("; ".join(unreadable))
    of_modes = [] if unreadable else _of_modes(sorted(modes), mode, node)
    return Comparison([*of_modes, *problems], fronts, tuple(sorted(modes)))


def _of_modes(modes: list[str], mode: str, node: str) -> list[str]:
    """Problems with the modes themselves."""
    if not modes and mode == "auto":
        give_up(f"kube-proxy has no rules on node {node} in nftables, iptables or ipvs: is another proxy in use?")
    if not modes:
        return [f"kube-proxy has no rules on node {node} in {mode}"]
    if len(modes) > 1:
        return [f"kube-proxy has rules on node {node} in {' and '.join(modes)}: the rules of an earlier mode remain"]
    return []


def _all(api: Api, path: str) -> list[Json]:
    return [item for page in api.pages(path, PAGE_SIZE) for item in page]


def compare_until_settled(api: Api, node: str, mode: str, settle: float) -> Comparison:
    """Compare until nothing differs, or the same differences have lasted `settle` seconds."""
    comparison = compare(api, node, mode)
    deadline = time.monotonic() + min(settle, run().remaining())
    lasting = set(comparison.problems)
    while lasting and time.monotonic() < deadline:
        time.sleep(ROUND)
        comparison = compare(api, node, mode)
        lasting &= set(comparison.problems)
    return Comparison(
        [problem for problem in comparison.problems if problem in lasting], comparison.fronts, comparison.modes
    )


@main
def probe() -> None:
    """Compare, and report lasting differences."""
    mode = text("MODE", "auto").lower()
    if mode not in MODES:
        give_up(f"parameter MODE={mode!r}: expected one of {', '.join(MODES)}")
    settle = number("SETTLE", 10)
    node = os.environ.get("KUBEPROBE_NODE", "") or os.uname().nodename  # hostNetwork: the pod has its node's name
    with connect() as api, step("compare"):
        try:
            comparison = compare_until_settled(api, node, mode, settle)
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
    sys.stdout.write(f"node {node}, mode {', '.join(comparison.modes)}\n")
    measure("fronts", comparison.fronts)
    measure("problems", len(comparison.problems))
    if comparison.problems:
        report_failure(f"node {node}: {problem}" for problem in comparison.problems)
