"""Entries that this version of KubeProbe cannot read stop the opening of no other run."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from kubeprobe.catalog import CatalogUnreadableError
from kubeprobe.catalog.snapshot import Unreadable
from kubeprobe.queue import Task
from kubeprobe.settings import Settings
from kubeprobe.store import Change
from kubeprobe.trigger import (
    RunRequest,
    claim_housekeeping,
    due_housekeeping,
    issue_due,
    record_change,
    request_runs,
)
from kubeprobe.trigger.housekeeping import EVERY
from kubeprobe.vocabulary import Reason, RunState
from tests.services.trigger.given import CASE, World, catalog

INVALID = "the stored entry is invalid"
ALL_CLUSTERS: dict[str, Any] = {"clusters": {"selector": {}}, "on": {"change": {"component": "coredns"}}}


def test_a_request_for_an_unreadable_case_names_it_and_others_are_opened(world: World, settings: Settings) -> None:
    found = replace(catalog(), unreadable={("ProbeCase", "newer"): Unreadable(INVALID, {})})
    with world.store.writing() as session:
        with pytest.raises(CatalogUnreadableError, match=f"{INVALID}; fix its YAML"):
            request_runs(session, found, RunRequest("newer", ("prod-1",)), world.noon, settings)
        assert len(request_runs(session, found, RunRequest(CASE, ("prod-1",)), world.noon, settings)) == 1


@pytest.mark.parametrize(
    ("spec", "opened"),
    [
        ({"cases": [CASE], "nodes": {"newer": 1}}, None),
        ({"cases": [CASE], "newer": 1}, 1),
        ({"cases": ["other"], "nodes": {}}, 1),
    ],
)
def test_a_case_that_may_run_on_nodes_is_not_run_on_the_cluster(
    world: World, settings: Settings, spec: dict[str, Any], opened: int | None
) -> None:
    found = replace(catalog(), unreadable={("Binding", "newer"): Unreadable(INVALID, spec)})
    with world.store.writing() as session:
        if opened is None:
            with pytest.raises(CatalogUnreadableError, match=INVALID):
                request_runs(session, found, RunRequest(CASE, ("prod-1",)), world.noon, settings)
        else:
            assert len(request_runs(session, found, RunRequest(CASE, ("prod-1",)), world.noon, settings)) == opened


def test_a_change_opens_the_runs_of_readable_bindings_and_the_log_names_the_others(
    world: World, settings: Settings
) -> None:
    unreadable = {
        ("Binding", "newer"): Unreadable(INVALID, {"on": {"change": {"component": "coredns", "newer": 1}}}),
        ("Binding", "periodic"): Unreadable(INVALID, {"on": {"periodic": {"every": "5m"}}, "newer": 1}),
    }
    found = replace(catalog(dns={"cases": [CASE], **ALL_CLUSTERS}), unreadable=unreadable)
    change = Change(id="c1", component="coredns", version="1", clusters=["prod-1"], happened_at=world.noon)
    with capture_logs() as logs, world.store.writing() as session:
        assert len(record_change(session, found, change, world.noon, settings).opened) == 1
    assert [line["binding"] for line in logs] == ["newer"]


INVALID_TIMES = ["", "2026-02-31 12:00:00.000000", "soon"]


def corrupt(world: World, statement: str, value: str) -> None:
    with world.store.writing() as session:
        session.connection().exec_driver_sql(statement, (value,))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL refuses such values
@pytest.mark.parametrize("invalid", INVALID_TIMES[:2])  # `soon` is never due
def test_an_invalid_time_of_a_schedule_stops_no_other(
    world: World, now: datetime, settings: Settings, invalid: str
) -> None:
    world.schedule(binding="invalid")
    world.schedule()
    corrupt(world, "UPDATE schedule SET next_due = ? WHERE binding = 'invalid'", invalid)
    with capture_logs() as logs:
        assert len(issue_due(world.store, now, settings).opened) == 2
    assert issue_due(world.store, now, settings).opened == []
    assert [line["kind"] for line in logs] == ["schedules"]
    assert {run.binding for run in world.runs} == {"all", "invalid"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("invalid", INVALID_TIMES)
def test_an_invalid_time_of_a_cluster_stops_no_slot(
    world: World, now: datetime, settings: Settings, invalid: str
) -> None:
    world.nodes("prod-1", "n1")
    world.schedule(binding="nodes", nodes="{}")
    world.schedule()
    corrupt(world, "UPDATE cluster SET nodes_listed_at = ?", invalid)
    issue_due(world.store, now, settings)
    assert sorted((run.binding or "", run.state) for run in world.runs) == [
        ("all", RunState.PENDING),
        ("nodes", RunState.DONE),
    ]
    assert [outcome.reason for outcome in world.outcomes] == [Reason.NO_NODES]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_node_whose_labels_are_cut_stops_no_slot(world: World, now: datetime, settings: Settings) -> None:
    """Its row is a copy, which the collector writes again."""
    world.nodes("prod-1", "n1", "n2")
    world.schedule(binding="nodes", nodes="{}")
    world.schedule()
    corrupt(world, "UPDATE node SET labels = ? WHERE name = 'n1'", '{"tier": "go')
    issue_due(world.store, now, settings)
    assert {(run.binding, run.node) for run in world.runs} == {("all", None), ("nodes", "n2")}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("invalid", INVALID_TIMES)
def test_an_invalid_time_of_housekeeping_stops_no_other(world: World, now: datetime, invalid: str) -> None:
    for task in EVERY:
        assert claim_housekeeping(world.store, task, now)
    corrupt(world, f"UPDATE housekeeping SET next_due = ? WHERE task = '{Task.EXPIRE}'", invalid)
    assert due_housekeeping(world.store, now) == [Task.EXPIRE]
    assert claim_housekeeping(world.store, Task.EXPIRE, now)
    assert due_housekeeping(world.store, now) == []


@pytest.mark.parametrize("nodes", ['{"newer":1}', "{", "[]"])
def test_invalid_nodes_of_a_schedule_stop_no_other(world: World, now: datetime, settings: Settings, nodes: str) -> None:
    world.schedule(binding="newer", nodes=nodes)
    world.schedule()
    assert len(issue_due(world.store, now, settings).opened) == 1
    assert issue_due(world.store, now, settings).opened == []
    assert sorted((run.binding, run.state) for run in world.runs) == [
        ("all", RunState.PENDING),
        ("newer", RunState.DONE),
    ]
    [outcome] = world.outcomes
    assert outcome.reason == Reason.NOT_LAUNCHED
    assert "binding newer" in outcome.message
