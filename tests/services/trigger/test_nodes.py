"""Runs on nodes: a slot for each node of the sample, from the rows of collectors, at a constant cost."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.runs import OpenedRun
from kubeprobe.settings import Settings
from kubeprobe.store import Change
from kubeprobe.trigger import RunRequest, issue_due, record_change, request_runs
from kubeprobe.trigger.periodic import MAX_RUNS
from kubeprobe.vocabulary import Concurrency, Reason, RunState, Trigger, Verdict
from tests.services.trigger.given import CASE, World, at_once, catalog, statements

EVERY = timedelta(minutes=5)
ALL = "{}"


def names(count: int) -> list[str]:
    return [f"node-{number:03}" for number in range(count)]


def nodes_of(world: World) -> list[str | None]:
    """The nodes of all runs."""
    return [run.node for run in world.runs]


def test_a_due_slot_opens_a_run_for_each_node(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", *names(3))
    world.schedule(nodes=ALL)
    opened = issue_due(world.store, now, settings).opened
    assert len(opened) == 3
    assert sorted(run.slot for run in world.runs) == [
        f"periodic/all/{CASE}/prod-1/{node}/{now.isoformat()}" for node in names(3)
    ]
    assert sorted(filter(None, nodes_of(world))) == names(3)
    assert {(run.state, run.trigger, run.due_at) for run in world.runs} == {(RunState.PENDING, Trigger.PERIODIC, now)}


def test_samples_rotate_through_all_nodes(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", *names(8))
    world.schedule(nodes='{"sample":3}', concurrency=Concurrency.ALLOW)
    for slot in range(3):
        assert len(issue_due(world.store, now + slot * EVERY, settings).opened) == 3
    assert set(nodes_of(world)) == set(names(8))


def test_a_node_that_joins_is_taken_within_the_round(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", *names(4))
    world.schedule(nodes='{"sample":2}', concurrency=Concurrency.ALLOW)
    issue_due(world.store, now, settings)
    world.nodes("prod-1", "newcomer")
    for slot in range(1, 4):
        issue_due(world.store, now + slot * EVERY, settings)
    assert "newcomer" in nodes_of(world)


def test_only_matching_uncordoned_nodes_are_chosen(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", "cpu")
    world.nodes("prod-1", "gpu-1", gpu="yes")
    world.nodes("prod-1", "gpu-2", unschedulable=True, gpu="yes")
    world.schedule(nodes='{"selector":{"matchLabels":{"gpu":"yes"}}}')
    issue_due(world.store, now, settings)
    assert nodes_of(world) == ["gpu-1"]


def test_cordoned_nodes_are_probed_if_the_binding_includes_them(
    world: World, now: datetime, settings: Settings
) -> None:
    world.nodes("prod-1", "gpu-2", unschedulable=True)
    world.schedule(nodes='{"cordoned":"probe"}')
    issue_due(world.store, now, settings)
    assert nodes_of(world) == ["gpu-2"]


def test_without_known_nodes_the_slot_is_unknown_with_the_cause(
    world: World, now: datetime, settings: Settings
) -> None:
    world.change_cluster("prod-1", watches_nodes=True, nodes_error="permission missing: list nodes")
    world.schedule(nodes=ALL)
    tick = issue_due(world.store, now, settings)
    assert (tick.opened, tick.ended) == ([], True)
    [outcome] = world.outcomes
    assert (outcome.verdict, outcome.reason, outcome.node, outcome.node_level) == (
        Verdict.UNKNOWN,
        Reason.NO_NODES,
        None,
        True,
    )
    assert outcome.message == "The nodes of prod-1 are not known: permission missing: list nodes"


def test_without_matching_nodes_no_run_is_opened(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", "cpu")
    world.schedule(nodes='{"selector":{"matchLabels":{"gpu":"yes"}}}')
    assert not issue_due(world.store, now, settings).ended
    assert (world.runs, world.outcomes) == ([], [])


def test_an_open_run_on_a_node_does_not_block_other_nodes(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", *names(3))
    world.schedule(nodes=ALL)
    first = issue_due(world.store, now, settings).opened
    by_id = {run.id: run.node for run in world.runs}
    world.end(*(run.id for run in first if by_id[run.id] != "node-001"))
    assert len(issue_due(world.store, now + EVERY, settings).opened) == 2
    [skipped] = world.outcomes
    assert (skipped.node, skipped.reason, skipped.node_level) == ("node-001", Reason.STILL_RUNNING, True)


def test_a_newer_slot_replaces_the_run_of_its_own_node_only(world: World, now: datetime, settings: Settings) -> None:
    world.nodes("prod-1", *names(2))
    world.schedule(nodes=ALL, concurrency=Concurrency.REPLACE)
    first = issue_due(world.store, now, settings).opened
    by_id = {run.id: run.node for run in world.runs}
    [done] = [run.id for run in first if by_id[run.id] == "node-000"]
    world.end(done)
    replaced = issue_due(world.store, now + EVERY, settings).replaced
    assert [by_id[run.id] for run in replaced] == ["node-001"]
    assert [(o.node, o.reason, o.node_level) for o in world.outcomes] == [("node-001", Reason.REPLACED, True)]


def test_after_an_outage_missed_slots_of_all_nodes_are_one_outcome(
    world: World, now: datetime, settings: Settings
) -> None:
    world.nodes("prod-1", *names(3))
    world.schedule(nodes=ALL)
    assert len(issue_due(world.store, now + 10 * EVERY, settings).opened) == 3
    assert [(o.reason, o.missed, o.node_level, o.node) for o in world.outcomes] == [(Reason.MISSED, 10, True, None)]


def test_two_beats_at_once_open_each_nodes_slot_once(world: World, now: datetime, settings: Settings) -> None:
    world.cluster(*(f"c{i}" for i in range(20)))
    for number in range(20):
        world.nodes(f"c{number}", *names(10))
    world.schedules([f"c{i}" for i in range(20)], nodes='{"sample":4}')
    at_once(4, lambda _: issue_due(world.store, now, settings))
    assert len({run.slot for run in world.runs}) == len(world.runs) == 80
    assert world.outcomes == []


def test_a_tick_takes_as_many_statements_for_many_schedules_of_nodes_as_for_one(
    world: World, now: datetime, settings: Settings
) -> None:
    world.nodes("prod-1", *names(5))
    world.schedule(nodes=ALL)
    with statements(world.store) as few:
        issue_due(world.store, now, settings)
    world.cluster(*(f"c{i}" for i in range(50)))
    for number in range(50):
        world.nodes(f"c{number}", *names(5))
    world.schedules([f"c{i}" for i in range(50)], nodes=ALL, due=now + timedelta(minutes=1))
    with statements(world.store) as many:
        assert len(issue_due(world.store, now + timedelta(minutes=1), settings).opened) == 250
    assert len(many) == len(few) == 5, "due, still open, nodes, insert, advance"


def test_runs_beyond_the_limit_of_a_transaction_are_opened_by_the_next_tick(
    world: World, now: datetime, settings: Settings
) -> None:
    world.cluster("large")
    world.nodes("large", *names(MAX_RUNS))
    world.nodes("prod-1", *names(2))
    world.schedule("large", nodes=ALL, due=now - timedelta(seconds=1))
    world.schedule(nodes=ALL)
    assert len(issue_due(world.store, now, settings).opened) == MAX_RUNS
    assert len(issue_due(world.store, now, settings).opened) == 2


def test_a_slot_of_the_longest_names_fits_its_column(world: World, now: datetime, settings: Settings) -> None:
    long = ".".join(["n" * 63] * 3 + ["n" * 61])
    world.cluster("c" * 63)
    world.nodes("c" * 63, long, f"{long[:-1]}m")
    world.schedule("c" * 63, nodes=ALL, binding="b" * 63, case="p" * 63)
    assert len(issue_due(world.store, now, settings).opened) == 2
    assert len({run.slot for run in world.runs}) == 2


# ------------------------------------------------------------------------------------------- by change and by hand


def bound(**nodes: Any) -> dict[str, Any]:
    """A binding that runs the case on nodes when the kernel changes."""
    return {"cases": [CASE], "clusters": {"selector": {}}, "on": {"change": {"component": "kernel"}}, "nodes": nodes}


def nodes_of_change(
    world: World, settings: Settings, change_id: str = "c1", node: str | None = None, **nodes: Any
) -> list[str]:
    """The nodes that a change on prod-1 opens runs for."""
    change = Change(id=change_id, component="kernel", clusters=["prod-1"], node=node, happened_at=world.noon)
    with world.store.writing() as session:
        recorded = record_change(session, catalog(kernel=bound(**nodes)), change, world.noon, settings)
    ids = {run.id for run in recorded.opened}
    return sorted(run.node for run in world.runs if run.id in ids and run.node)


def opened_by(world: World, request: RunRequest, settings: Settings, **bindings: Any) -> list[OpenedRun]:
    with world.store.writing() as session:
        return request_runs(session, catalog(**bindings), request, world.noon, settings)


def test_a_change_of_a_node_runs_on_that_node_only(world: World, settings: Settings) -> None:
    world.nodes("prod-1", *names(4))
    assert nodes_of_change(world, settings, node="node-002") == ["node-002"]
    assert [run.slot for run in world.runs] == [f"change/c1/kernel/{CASE}/prod-1/node-002"]


def test_a_change_of_a_cluster_runs_on_a_sample_which_differs_from_change_to_change(
    world: World, settings: Settings
) -> None:
    world.nodes("prod-1", *names(20))
    samples = [nodes_of_change(world, settings, f"c{number}", sample=2) for number in range(8)]
    assert {len(sample) for sample in samples} == {2}
    assert len({tuple(sample) for sample in samples}) > 1


def test_a_change_of_a_node_that_does_not_match_opens_no_runs(world: World, settings: Settings) -> None:
    world.nodes("prod-1", *names(2))
    assert nodes_of_change(world, settings, node="node-000", selector={"matchLabels": {"gpu": "yes"}}) == []


def test_a_change_names_its_node_on_one_cluster_only(world: World, settings: Settings) -> None:
    world.cluster("prod-2")
    change = Change(id="c", component="kernel", clusters=["prod-1", "prod-2"], node="n", happened_at=world.noon)
    with world.store.writing() as session, pytest.raises(InvalidInputError, match="one cluster"):
        record_change(session, catalog(), change, world.noon, settings)


def test_a_request_names_nodes_or_selects_them(world: World, settings: Settings) -> None:
    world.nodes("prod-1", *names(3), zone="a")
    world.nodes("prod-1", "other", unschedulable=True, zone="b")
    assert len(opened_by(world, RunRequest(CASE, ("prod-1",), nodes=("other",), id="r1"), settings)) == 1
    assert len(opened_by(world, RunRequest(CASE, ("prod-1",), nodes_selector="zone=a", id="r2"), settings)) == 3
    assert sorted(filter(None, nodes_of(world))) == [*names(3), "other"]


def test_a_request_for_a_missing_node_suggests_the_nearest_name(world: World, settings: Settings) -> None:
    world.nodes("prod-1", *names(3))
    with pytest.raises(NotFoundError, match="Did you mean 'node-001'"):
        opened_by(world, RunRequest(CASE, ("prod-1",), nodes=("nodee-001",)), settings)
    with pytest.raises(NotFoundError, match="No node of prod-1 matches"):
        opened_by(world, RunRequest(CASE, ("prod-1",), nodes_selector="zone=x"), settings)


def test_a_node_can_be_named_without_a_list_of_nodes(world: World, settings: Settings) -> None:
    assert len(opened_by(world, RunRequest(CASE, ("prod-1",), nodes=("any",)), settings)) == 1
    with pytest.raises(InvalidInputError, match="no binding with `nodes`"):
        opened_by(world, RunRequest(CASE, ("prod-1",), nodes_selector="zone=a"), settings)


def test_a_request_for_a_case_bound_to_nodes_runs_on_nodes(world: World, settings: Settings) -> None:
    world.nodes("prod-1", *names(5))
    opened_by(world, RunRequest(CASE, ("prod-1",)), settings, kernel=bound(sample=2))
    assert len([node for node in nodes_of(world) if node]) == 2


def test_a_request_for_a_case_also_bound_to_the_cluster_runs_once(world: World, settings: Settings) -> None:
    world.nodes("prod-1", *names(5))
    plain = {key: value for key, value in bound().items() if key != "nodes"}
    opened_by(world, RunRequest(CASE, ("prod-1",)), settings, kernel=bound(sample=2), plain=plain)
    assert nodes_of(world) == [None]
