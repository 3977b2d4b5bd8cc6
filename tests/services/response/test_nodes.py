"""Every node has its own standing, alerts and messages; alerts of removed nodes are withdrawn."""

import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import close_withdrawn, respond
from kubeprobe.store import Alert, Notification, Standing
from kubeprobe.vocabulary import SOME_NODE, Reason, Verdict
from tests.services.response.given import World, statements

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
NONE_KNOWN = {"reason": Reason.NO_NODES, "message": "The nodes of prod-1 are not known: no collector"}


@pytest.fixture(autouse=True)
def _log_route(world: World) -> None:
    world.route("team", {"name": "log", "log": {}})


def process(world: World, catalogs: CatalogCache, minute: float = 30) -> list[str]:
    return respond(world.store, catalogs, world.at(minute)).deliver


def standings(world: World) -> dict[str, str]:
    return {row.node: row.verdict for row in world.all(Standing)}


def open_alerts(world: World) -> list[tuple[str, str]]:
    return [(row.node, row.kind) for row in world.all(Alert, Alert.node) if row.closed_at is None]


def titles(world: World) -> list[str]:
    return [row.payload["title"] for row in world.all(Notification, Notification.id)]


def test_each_node_of_a_cluster_has_its_own_standing(world: World, catalogs: CatalogCache) -> None:
    world.on_node(F, 1, "node-1")
    world.on_node(P, 2, "node-2")
    world.outcome(P, 3)
    process(world, catalogs)
    assert standings(world) == {"": P, "node-1": F, "node-2": P}
    assert open_alerts(world) == [("node-1", "fail")]
    assert titles(world) == ["[warning] pod-lifecycle fails on prod-1/node-1"]


def test_a_pass_of_one_node_does_not_close_the_alert_of_another(world: World, catalogs: CatalogCache) -> None:
    world.on_node(F, 1, "node-1")
    world.on_node(F, 1, "node-2")
    process(world, catalogs)
    world.on_node(P, 2, "node-2")
    process(world, catalogs)
    assert open_alerts(world) == [("node-1", "fail")]
    assert titles(world)[-1] == "[recovered] pod-lifecycle passes again on prod-1/node-2"


def test_a_run_about_the_cluster_gives_no_standing_to_its_node(world: World, catalogs: CatalogCache) -> None:
    world.outcome(F, 1, node="node-1")
    process(world, catalogs)
    assert standings(world) == {"": F}


def test_a_run_whose_node_has_left_is_not_counted(world: World, catalogs: CatalogCache) -> None:
    for minute in range(5):
        world.on_node(U, minute, "node-1", reason=Reason.NODE_GONE)
    process(world, catalogs)
    assert (standings(world), open_alerts(world)) == ({}, [])


def test_unknown_nodes_open_one_alert_until_the_first_outcome_of_a_node(world: World, catalogs: CatalogCache) -> None:
    for minute in range(4):
        world.on_node(U, minute, None, **NONE_KNOWN)
    process(world, catalogs)
    assert open_alerts(world) == [(SOME_NODE, "unknown")]
    world.on_node(F, 5, "node-1")
    process(world, catalogs)
    assert open_alerts(world) == [("node-1", "fail")]
    assert set(titles(world)) == {
        "[unknown] pod-lifecycle on the nodes of prod-1: no verdict",
        "[verdict restored] pod-lifecycle on the nodes of prod-1: pass",
        "[warning] pod-lifecycle fails on prod-1/node-1",
    }


def test_within_a_batch_the_latest_outcome_decides_whether_nodes_are_known(
    world: World, catalogs: CatalogCache
) -> None:
    world.case(unknownAfter=1)
    world.on_node(P, 1, "node-1")
    world.on_node(U, 2, None, **NONE_KNOWN)
    process(world, catalogs)
    world.on_node(P, 3, "node-1")
    world.on_node(U, 4, None, **NONE_KNOWN)
    process(world, catalogs)
    assert open_alerts(world) == [(SOME_NODE, "unknown")]


def test_nodes_that_pass_as_before_cost_two_statements(world: World, catalogs: CatalogCache) -> None:
    for number in range(50):
        world.on_node(P, 1, f"node-{number}")
    process(world, catalogs)
    for number in range(50):
        world.on_node(P, 2, f"node-{number}")
    with statements(world.store) as seen:
        process(world, catalogs)
    assert len(seen) == 2


def test_the_alerts_of_a_node_that_left_are_withdrawn(world: World, catalogs: CatalogCache) -> None:
    for name in ("node-1", "node-2"):
        world.node(name)
        world.on_node(F, 1, name)
    process(world, catalogs)
    world.node_leaves("node-1")
    assert len(close_withdrawn(world.store, catalogs, world.at(31)).deliver) == 1
    assert open_alerts(world) == [("node-2", "fail")]
    assert standings(world) == {"node-2": F}
    assert titles(world)[-1] == "[withdrawn] pod-lifecycle on prod-1/node-1: no longer probed"


def test_a_new_node_of_the_same_name_has_a_new_standing(world: World, catalogs: CatalogCache) -> None:
    world.node("node-1")
    world.on_node(F, 1, "node-1")
    process(world, catalogs)
    world.node_leaves("node-1")
    world.node("node-1", since=20)
    close_withdrawn(world.store, catalogs, world.at(31))
    assert (open_alerts(world), standings(world)) == ([], {})


def test_without_a_list_of_nodes_no_alert_is_withdrawn(world: World, catalogs: CatalogCache) -> None:
    world.on_node(F, 1, "asked-for-by-hand")
    process(world, catalogs)
    close_withdrawn(world.store, catalogs, world.at(31))
    assert open_alerts(world) == [("asked-for-by-hand", "fail")]


def test_the_alert_for_unknown_nodes_is_withdrawn_with_the_last_binding_of_nodes(
    world: World, catalogs: CatalogCache
) -> None:
    world.case(unknownAfter=1)
    world.on_node(U, 1, None, **NONE_KNOWN)
    process(world, catalogs)
    close_withdrawn(world.store, catalogs, world.at(31))
    assert open_alerts(world) == []
