"""Probes of nodes: who watches a cluster knows its nodes, pods are pinned to them, and a run whose node left ends."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from kubeprobe.fleet.api import NODES_PATH
from kubeprobe.store import Cluster, Node, Outcome, Store
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeRooms
from tests.local.execution.rooms import PASS, LocalThread, Rooms

LOCAL = "local"
SAYS_ITS_NODE = """echo "{\\"ok\\": true, \\"metrics\\": {\\"$KUBEPROBE_NODE\\": 1}}" > $KUBEPROBE_REPORT_FILE"""


@pytest.fixture
def rooms(make_rooms: MakeRooms, sqlite: Store, local: LocalThread) -> Iterator[Rooms]:
    """A collector that follows the nodes of its cluster, and knows them."""
    made = make_rooms(sqlite, local)
    want_nodes(sqlite, wanted=True)
    made.collect()
    until("the nodes to be known", lambda: nodes(sqlite))
    yield made
    listed, _ = made.ask(lambda api: api.list_objects(NODES_PATH))
    for name in {node["metadata"]["name"] for node in listed} - {LOCAL}:
        leave(made, name)


def want_nodes(store: Store, *, wanted: bool) -> None:
    with store.writing() as session:
        session.execute(update(Cluster).values(watches_nodes=wanted))


def nodes(store: Store) -> dict[str, Node]:
    with store.reading() as session:
        return {node.name: node for node in session.exec(select(Node).where(col(Node.cluster) == "local"))}


def join(rooms: Rooms, name: str, **labels: str) -> None:
    """A node without a kubelet."""
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    rooms.ask(lambda api: api.call("POST", "/api/v1/nodes", body=body))
    until(f"{name} to be known", lambda: name in nodes(rooms.store))


def leave(rooms: Rooms, name: str) -> None:
    rooms.ask(lambda api: api.call("DELETE", f"/api/v1/nodes/{name}"))


def change(rooms: Rooms, name: str, where: str = "", **fields: Any) -> None:
    """Change a node, as an administrator or a kubelet might."""
    path = f"/api/v1/nodes/{name}"
    found = rooms.ask(lambda api: api.call("GET", path))
    found.update({key: {**found.get(key, {}), **value} for key, value in fields.items()})
    rooms.ask(lambda api: api.call("PUT", path + where, body=found))


def test_the_rows_follow_the_nodes(rooms: Rooms) -> None:
    assert nodes(rooms.store)[LOCAL].ready
    join(rooms, "node-1", zone="a")
    joined = nodes(rooms.store)["node-1"]
    assert (joined.labels["zone"], joined.unschedulable, joined.ready) == ("a", False, False)
    change(rooms, "node-1", spec={"unschedulable": True})
    until("node-1 to be cordoned", lambda: nodes(rooms.store)["node-1"].unschedulable)
    leave(rooms, "node-1")
    until("node-1 to be gone", lambda: "node-1" not in nodes(rooms.store))
    join(rooms, "node-1")
    assert nodes(rooms.store)["node-1"].uid != joined.uid


def test_what_a_kubelet_renews_all_the_time_is_not_written(rooms: Rooms) -> None:
    join(rooms, "node-1")
    before = nodes(rooms.store)["node-1"].seen_at
    for beat in range(5):
        heard = {"type": "Ready", "status": "False", "lastHeartbeatTime": f"2026-11-25T12:00:0{beat}Z"}
        change(rooms, "node-1", "/status", status={"conditions": [heard]})
    join(rooms, "node-2")
    assert nodes(rooms.store)["node-1"].seen_at == before


def test_a_collector_that_comes_late_finds_who_joined_and_who_left(rooms: Rooms) -> None:
    join(rooms, "node-1")
    rooms.stop_collecting()
    leave(rooms, "node-1")
    join_later = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2"}}
    rooms.ask(lambda api: api.call("POST", "/api/v1/nodes", body=join_later))
    rooms.collect("two")
    until("the newer nodes", lambda: nodes(rooms.store).keys() == {LOCAL, "node-2"})


def test_a_pod_is_pinned_to_its_node_and_told_which_it_is(rooms: Rooms) -> None:
    run_id = rooms.start(rooms.at_the_gate + SAYS_ITS_NODE, node=LOCAL)
    pod = rooms.wait_until_running(run_id)
    assert (pod["spec"]["nodeName"], pod["metadata"]["annotations"]["kubeprobe.io/node"]) == (LOCAL, LOCAL)
    assert {"operator": "Exists"} in pod["spec"]["tolerations"]
    rooms.open_the_gate()
    outcome = rooms.outcome(run_id)
    assert (outcome.verdict, outcome.node, outcome.node_level) == (Verdict.PASS, LOCAL, True)
    assert outcome.report is not None
    assert outcome.report["metrics"] == {LOCAL: 1}


def test_a_pod_on_any_node_is_told_too_where_it_runs_and_says_nothing_of_the_node(rooms: Rooms) -> None:
    outcome = rooms.outcome(rooms.start(SAYS_ITS_NODE))
    assert (outcome.node, outcome.node_level) == (LOCAL, False)
    assert outcome.report is not None
    assert outcome.report["metrics"] == {LOCAL: 1}


def test_a_run_whose_node_leaves_ends_at_once_and_its_pod_goes(rooms: Rooms) -> None:
    join(rooms, "node-1")
    run_id = rooms.start(PASS, node="node-1")
    leave(rooms, "node-1")
    assert_gone(rooms.outcome(run_id, within_s=10), "node-1")
    rooms.wait_until_no_pod_is_left()


def test_a_run_that_waits_for_a_launcher_ends_too_when_its_node_leaves(rooms: Rooms) -> None:
    join(rooms, "node-1")
    run_id = rooms.open(PASS, node="node-1")
    leave(rooms, "node-1")
    assert_gone(rooms.outcome(run_id, within_s=10), "node-1")


def test_a_run_launched_for_a_node_that_has_left_ends_at_once(rooms: Rooms) -> None:
    join(rooms, "node-1")
    rooms.stop_collecting()
    run_id = rooms.start(PASS, node="node-1")
    leave(rooms, "node-1")
    rooms.collect("two")
    assert_gone(rooms.outcome(run_id, within_s=10), "node-1")
    rooms.wait_until_no_pod_is_left()


def test_where_no_binding_asks_any_more_nothing_is_written(rooms: Rooms) -> None:
    want_nodes(rooms.store, wanted=False)
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-9"}}
    rooms.ask(lambda api: api.call("POST", "/api/v1/nodes", body=body))
    assert rooms.outcome(rooms.start(PASS)).verdict == Verdict.PASS
    assert "node-9" not in nodes(rooms.store)


def assert_gone(outcome: Outcome, node: str) -> None:
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.NODE_GONE)
    assert (outcome.node, outcome.node_level) == (node, True)
    assert outcome.message == f"Node {node} has left the cluster."
