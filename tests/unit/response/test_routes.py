"""Which targets are notified of an alert."""

from typing import Any

import pytest

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.model import AlertRouteSpec
from kubeprobe.response.routes import AlertAttributes, TargetRef, find_target, targets_for

FACTS = AlertAttributes("pod-lifecycle", "fail", "critical", "platform", {"region": "eu"})


def catalog(**matches: dict[str, Any]) -> Catalog:
    targets = [{"name": "log", "log": {}}]
    return Catalog(
        routes={
            name: AlertRouteSpec.model_validate({"match": match, "targets": targets}) for name, match in matches.items()
        }
    )


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ({}, True),
        ({"severities": ["critical", "warning"]}, True),
        ({"severities": ["info"]}, False),
        ({"cases": ["pod-lifecycle"]}, True),
        ({"cases": ["dns"]}, False),
        ({"owners": ["platform"]}, True),
        ({"owners": ["storage"]}, False),
        ({"kinds": ["fail"]}, True),
        ({"kinds": ["unknown"]}, False),
        ({"clusterSelector": {"matchLabels": {"region": "eu"}}}, True),
        ({"clusterSelector": {"matchLabels": {"region": "us"}}}, False),
        ({"severities": ["critical"], "cases": ["dns"]}, False),
    ],
)
def test_a_route_matches_when_all_its_conditions_hold(match: dict[str, Any], matches: bool) -> None:  # noqa: FBT001
    assert targets_for(catalog(only=match), FACTS) == ((TargetRef("only", "log"),) if matches else ())


def test_every_matching_route_gives_its_targets() -> None:
    found = targets_for(catalog(b={}, a={}, c={"cases": ["dns"]}), FACTS)
    assert found == (TargetRef("a", "log"), TargetRef("b", "log"))


def test_without_a_route_there_are_no_targets() -> None:
    assert targets_for(Catalog(), FACTS) == ()


def test_a_target_is_found_by_route_and_name() -> None:
    held = catalog(only={})
    found = find_target(held, TargetRef("only", "log"))
    assert found is not None
    assert found.log is not None
    assert find_target(held, TargetRef("only", "gone")) is None
    assert find_target(held, TargetRef("gone", "log")) is None
