"""Rules that a real kube-proxy 1.34 created in mode `iptables` for the recorded objects."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from probes.kube_proxy_rules.comparing import problems
from probes.kube_proxy_rules.iptables import has_rules, parse
from probes.kube_proxy_rules.wanted import Front, Wanted, read

RECORDED = Path(__file__).parent / "recorded"
Json = dict[str, Any]


@pytest.fixture
def saved() -> str:
    """The output of iptables-save."""
    return (RECORDED / "iptables.txt").read_text()


@pytest.fixture
def wanted() -> list[Wanted]:
    objects: list[Json] = json.loads((RECORDED / "iptables-objects.json").read_text())
    services, slices = ([one for one in objects if one["kind"] == kind] for kind in ("Service", "EndpointSlice"))
    return read(services, slices, "node", 4)


def of(wanted: list[Wanted], service: str) -> list[Wanted]:
    return [one for one in wanted if one.service == service]


def test_kube_proxys_rules_match_the_services(saved: str, wanted: list[Wanted]) -> None:
    assert has_rules(saved)
    assert problems(wanted, parse(saved), 4) == []


def test_a_local_traffic_policy_sends_external_traffic_to_local_pods(saved: str, wanted: list[Wanted]) -> None:
    fronts = parse(saved).fronts
    assert fronts[Front("", "tcp", 30081)] == {("10.244.1.5", 8081)}
    assert {len(fronts[one.front]) for one in of(wanted, "default/local")} == {1, 2}


@pytest.mark.parametrize("condition", ["-i cbr0", "-i veth+"])
def test_rules_by_a_pods_interface_are_optimizations(saved: str, wanted: list[Wanted], condition: str) -> None:
    by_interface = re.sub(r"(?m)^(-A KUBE-EXT-\S+) -s 10\.244\.0\.0/16", rf"\1 {condition}", saved)
    assert by_interface != saved
    assert problems(wanted, parse(by_interface), 4) == []


@pytest.mark.parametrize(
    "comment", [r"say \"-j DROP\" -s 1.2.3.4", r"it\'s --dport 1", r"ends with a backslash \\", "a # or ; or $(x)", ""]
)
def test_comments_are_not_part_of_a_rule(saved: str, wanted: list[Wanted], comment: str) -> None:
    changed = saved.replace('"default/web:http"', f'"{comment}"')
    assert changed != saved
    assert problems(wanted, parse(changed), 4) == []


def test_a_missing_entry_of_a_service_is_detected(saved: str, wanted: list[Wanted]) -> None:
    less = "\n".join(line for line in saved.splitlines() if "--dport 30080" not in line)
    assert problems(wanted, parse(less), 4) == [
        "Service default/web at node port 30080/tcp has no rule: connections to it fail"
    ]


def test_an_endpoint_without_its_dnat_rule_is_named(saved: str, wanted: list[Wanted]) -> None:
    less = "\n".join(line for line in saved.splitlines() if "--to-destination 10.244.1.1:8080" not in line)
    wrong = problems(of(wanted, "default/web"), parse(less), 4)
    assert any("chain KUBE-SEP-" in text and text.endswith("has no target") for text in wrong)
    assert any("does not forward to 10.244.1.1:8080, which is ready" in text for text in wrong)


def test_an_endpoint_without_its_service_is_stale(saved: str, wanted: list[Wanted]) -> None:
    [front] = of(wanted, "default/sticky")
    less = [one for one in wanted if one != front]
    [problem] = problems(less, parse(saved), 4)
    assert problem.endswith("forwards to 10.244.1.3:8443, but no Service has this address and port: stale rule")
