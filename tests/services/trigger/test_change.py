"""Runs from changes: at once, on the clusters of the change, once for each id."""

from datetime import datetime
from typing import Any

import pytest
from sqlmodel import select

from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.settings import Settings
from kubeprobe.store import Change
from kubeprobe.trigger import record_change
from kubeprobe.trigger.change import RecordedChange
from kubeprobe.vocabulary import Trigger
from tests.services.trigger.given import CASE, World, at_once, catalog


def bound(*cases: str, **binding: Any) -> dict[str, Any]:
    """A binding that runs these cases on all clusters when CoreDNS changes."""
    defaults = {"clusters": {"selector": {}}, "on": {"change": {"component": "coredns"}}}
    return {"cases": cases, **defaults, **binding}


def record(
    world: World, settings: Settings, *clusters: str, change_id: str = "c1", component: str = "coredns", **bindings: Any
) -> RecordedChange:
    """Record a change, by default of CoreDNS, on these clusters."""
    change = Change(id=change_id, component=component, version="1.12", clusters=list(clusters), happened_at=world.noon)
    with world.store.writing() as session:
        return record_change(session, catalog(**bindings or {"dns": bound(CASE)}), change, world.noon, settings)


def test_a_change_runs_the_cases_bound_to_its_component_on_its_clusters(
    world: World, now: datetime, settings: Settings
) -> None:
    world.cluster("prod-2", "prod-3", region="us")
    us = {"selector": {"matchLabels": {"region": "us"}}}
    other = {"on": {"change": {"component": "etcd"}}}
    recorded = record(
        world, settings, "prod-1", "prod-2",
        dns=bound(CASE, "dns-lookup"), us=bound(CASE, clusters=us), etcd=bound(CASE, **other),
        paused=bound(CASE, paused=True),
    )  # fmt: skip
    assert recorded.new
    found = {(run.binding, run.case, run.cluster) for run in world.runs}
    assert found == {
        ("dns", CASE, "prod-1"),
        ("dns", "dns-lookup", "prod-1"),
        ("dns", CASE, "prod-2"),
        ("dns", "dns-lookup", "prod-2"),
        ("us", CASE, "prod-2"),
    }
    assert {(r.trigger, r.change_id, r.due_at) for r in world.runs} == {(Trigger.CHANGE, "c1", now)}
    assert len(recorded.opened) == len(found)


def test_a_change_recorded_by_many_at_once_runs_once(world: World, settings: Settings) -> None:
    recorded = at_once(4, lambda _: record(world, settings, "prod-1"))
    assert sorted(one.new for one in recorded) == [False, False, False, True]
    assert sum(len(one.opened) for one in recorded) == 1
    assert len(world.runs) == 1


def test_a_change_with_another_id_runs_again(world: World, settings: Settings) -> None:
    record(world, settings, "prod-1")
    assert record(world, settings, "prod-1", change_id="c2").new
    assert len(world.runs) == 2


def test_a_change_on_a_cordoned_cluster_is_stored_and_opens_no_runs(
    world: World, now: datetime, settings: Settings
) -> None:
    world.cluster("prod-2", cordoned_at=now)
    recorded = record(world, settings, "prod-2")
    assert (recorded.new, recorded.opened, world.runs) == (True, [], [])


def test_a_change_that_names_a_cluster_twice_runs_there_once(world: World, settings: Settings) -> None:
    assert len(record(world, settings, "prod-1", "prod-1").opened) == 1


def test_a_change_on_an_unknown_cluster_is_rejected_and_not_stored(world: World, settings: Settings) -> None:
    with pytest.raises(NotFoundError, match=r"Did you mean 'prod-1'\?"):
        record(world, settings, "prod-1", "prod-11")
    with world.store.reading() as session:
        assert session.exec(select(Change)).all() == []
    assert record(world, settings, "prod-1").new


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"change_id": "x" * 101}, "at most 100"),
        ({"change_id": "rollout\0"}, "is not printable"),
        ({"component": "Core DNS"}, "component: "),
        ({"component": "x" * 64}, "component: "),
    ],
)
def test_an_invalid_change_is_rejected(world: World, settings: Settings, fields: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        record(world, settings, "prod-1", **fields)


def test_the_longest_allowed_id_is_stored(world: World, settings: Settings) -> None:
    cluster = "c" * 63
    world.cluster(cluster)
    longest: Any = {"change_id": "x" * 100, "b" * 63: bound(CASE)}
    assert len(record(world, settings, cluster, **longest).opened) == 1
