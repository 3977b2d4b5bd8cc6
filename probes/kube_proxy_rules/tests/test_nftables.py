"""Rules that a real kube-proxy 1.34 created in mode `nftables` for the recorded objects."""

import json
from pathlib import Path
from typing import Any

import pytest

from probes.kube_proxy_rules.comparing import problems
from probes.kube_proxy_rules.nftables import parse
from probes.kube_proxy_rules.wanted import Front, Wanted, read

RECORDED = Path(__file__).parent / "recorded"
Json = dict[str, Any]


@pytest.fixture
def table() -> Json:
    """nft's JSON."""
    found: Json = json.loads((RECORDED / "nftables.json").read_text())
    return found


@pytest.fixture
def wanted() -> list[Wanted]:
    objects = json.loads((RECORDED / "nftables-objects.json").read_text())
    services, slices = ([one for one in objects if one["kind"] == kind] for kind in ("Service", "EndpointSlice"))
    return read(services, slices, "node", 4)


def _of(kind: str, table: Json) -> list[Json]:
    return [entry[kind] for entry in table["nftables"] if kind in entry]


def test_kube_proxys_rules_match_the_services(table: Json, wanted: list[Wanted]) -> None:
    rules = parse(table)
    assert problems(wanted, rules, 4) == []
    assert len(rules.fronts) == len(wanted) == 11


def test_a_local_traffic_policy_sends_external_traffic_to_local_pods(table: Json) -> None:
    rules = parse(table)
    assert rules.fronts[Front("", "tcp", 30081)] == {("10.244.1.5", 8081)}
    assert rules.fronts[Front("10.96.215.97", "tcp", 81)] == {("10.244.1.4", 8081), ("10.244.1.5", 8081)}


def test_a_service_without_endpoints_has_no_backends(table: Json) -> None:
    assert parse(table).fronts[Front("10.96.155.67", "tcp", 80)] == frozenset()


def test_a_removed_map_element_is_detected(table: Json, wanted: list[Wanted]) -> None:
    for found in _of("map", table):
        if found["name"] == "service-nodeports":
            found["elem"] = [pair for pair in found["elem"] if pair[0]["concat"][1] != 30080]
    assert problems(wanted, parse(table), 4) == [
        "Service default/web at node port 30080/tcp has no rule: connections to it fail"
    ]


def test_an_endpoint_chain_without_a_rule_is_named(table: Json, wanted: list[Wanted]) -> None:
    table["nftables"] = [
        entry
        for entry in table["nftables"]
        if not ("rule" in entry and entry["rule"]["chain"].endswith("__10.244.1.1/8080"))
    ]
    first, second, *_ = problems(wanted, parse(table), 4)
    where = "Service default/web at 10.96.224.158:80/tcp"
    assert first == f"{where}: chain endpoint-6NNI7AUO-default/web/tcp/http__10.244.1.1/8080 has no target"
    assert second == f"{where} does not forward to 10.244.1.1:8080, which is ready"


def test_rules_of_a_deleted_service_are_detected(table: Json, wanted: list[Wanted]) -> None:
    less = [one for one in wanted if one.service != "default/sticky"]
    assert problems(less, parse(table), 4) == [
        "10.96.254.116:443/tcp forwards to 10.244.1.3:8443, but no Service has this address and port: stale rule"
    ]
