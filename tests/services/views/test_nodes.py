"""Nodes in views: aggregated in the fleet, one by one in the list of nodes."""

from datetime import timedelta

from sqlalchemy import event

from kubeprobe.cli.status_text import nodes_text
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.views import Cell, RunFilter, Shown, fleet_status, get_run, list_node_cells, list_runs
from kubeprobe.vocabulary import SOME_NODE, Verdict
from tests.services.views.given import World

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
MINUTE = timedelta(minutes=1)


def cell(world: World) -> Cell:
    """The only cell of the fleet."""
    with world.store.reading() as session:
        [found] = fleet_status(session, world.now).cells
    return found


def forty_nodes(world: World) -> None:
    world.cluster("prod-1")
    for number in range(40):
        world.node(f"node-{number:02}")
        world.standing("node-health", "prod-1", F if number < 2 else P, f"node-{number:02}")


def test_a_node_case_is_one_cell_with_its_worst_verdict_and_counts(world: World) -> None:
    forty_nodes(world)
    found = cell(world)
    assert (found.shown, found.verdict, found.nodes) == (Shown.FAIL, F, {"fail": 2, "pass": 38})
    assert nodes_text(found) == "2/40"


def test_a_cordoned_nodes_failure_does_not_count(world: World) -> None:
    world.cluster("prod-1")
    world.node("node-1", unschedulable=True)
    world.standing("node-health", "prod-1", F, "node-1")
    world.standing("node-health", "prod-1", P, "node-2")
    assert (cell(world).shown, cell(world).nodes) == (Shown.PASS, {"pass": 1, "cordoned": 1})


def test_a_cell_shows_the_worse_of_the_cluster_and_its_nodes(world: World) -> None:
    world.cluster("prod-1")
    world.standing("node-health", "prod-1", F)
    world.standing("node-health", "prod-1", P, "node-1")
    assert (cell(world).shown, cell(world).nodes) == (Shown.FAIL, {"pass": 1})


def test_a_verdict_that_no_nodes_are_known_counts_no_node(world: World) -> None:
    world.cluster("prod-1")
    world.standing("node-health", "prod-1", U, SOME_NODE)
    assert (cell(world).shown, cell(world).nodes) == (Shown.UNKNOWN, None)


def test_a_verdict_that_nodes_are_known_does_not_count(world: World) -> None:
    world.cluster("prod-1")
    world.standing("node-health", "prod-1", P, SOME_NODE)
    world.standing("node-health", "prod-1", F, "node-1")
    assert (cell(world).shown, cell(world).nodes) == (Shown.FAIL, {"fail": 1})


def test_an_overdue_slot_makes_all_nodes_stale(world: World) -> None:
    forty_nodes(world)
    world.schedule("node-health", "prod-1", world.now - 10 * MINUTE)
    assert cell(world).shown == Shown.STALE


def test_nodes_add_no_statements_to_the_fleet(world: World) -> None:
    counted: list[str] = []
    event.listen(world.store.engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
    forty_nodes(world)
    counted.clear()
    cell(world)
    assert len([statement for statement in counted if statement.startswith("SELECT")]) == 7


def test_each_node_has_its_own_cell(world: World) -> None:
    forty_nodes(world)
    world.cluster("prod-2", region="us")
    world.standing("dns", "prod-2", U, "other")
    with world.store.reading() as session:
        found = list_node_cells(session).items
        assert len(found) == 41
        assert [(c.cluster, c.node, c.shown) for c in list_node_cells(session, parse_selector("region=us")).items] == [
            ("prod-2", "other", Shown.UNKNOWN)
        ]
        failing = [c.node for c in list_node_cells(session, case="node-health").items if c.shown is Shown.FAIL]
    assert failing == ["node-00", "node-01"]


def test_runs_are_filtered_by_node(world: World) -> None:
    world.cluster("prod-1")
    wanted = world.run(node="node-1")
    world.run(node="node-2")
    world.run()
    with world.store.reading() as session:
        [found] = list_runs(session, RunFilter(node="node-1")).items
        assert (found.id, found.node, found.node_level, found.subject) == (wanted, "node-1", True, "prod-1/node-1")
        shown = get_run(session, wanted)
        assert (shown.node, shown.node_level, shown.subject) == ("node-1", True, "prod-1/node-1")
        assert {run.subject for run in list_runs(session, RunFilter()).items} == {
            "prod-1",
            "prod-1/node-1",
            "prod-1/node-2",
        }


def test_a_run_without_an_outcome_names_its_node(world: World) -> None:
    world.cluster("prod-1")
    world.opened(node="node-1")
    with world.store.reading() as session:
        assert [run.subject for run in list_runs(session, RunFilter()).items] == ["prod-1/node-1"]
