"""Probes of nodes: collectors store the nodes, pods are pinned to them, and a run whose node leaves ends."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from kubeprobe.execution.collect import node_rows
from kubeprobe.fleet.api import NODES_PATH, ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster, Node, Outcome, Store
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import PASS, Environment, LocalThread

LOCAL = "local"
SAYS_ITS_NODE = """echo "{\\"ok\\": true, \\"metrics\\": {\\"$KUBEPROBE_NODE\\": 1}}" > $KUBEPROBE_REPORT_FILE"""


@pytest.fixture
def env(make_environment: MakeEnvironment, sqlite: Store, local: LocalThread) -> Iterator[Environment]:
    """An environment whose collector has listed the nodes."""
    made = make_environment(sqlite, local)
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


def join(env: Environment, name: str, **labels: str) -> None:
    """A node without a kubelet."""
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    env.ask(lambda api: api.call("POST", "/api/v1/nodes", body=body))
    until(f"{name} to be known", lambda: name in nodes(env.store))


def leave(env: Environment, name: str) -> None:
    env.ask(lambda api: api.call("DELETE", f"/api/v1/nodes/{name}"))


def change(env: Environment, name: str, where: str = "", **fields: Any) -> None:
    """Change a node, as an administrator or a kubelet does."""
    path = f"/api/v1/nodes/{name}"
    found = env.ask(lambda api: api.call("GET", path))
    found.update({key: {**found.get(key, {}), **value} for key, value in fields.items()})
    env.ask(lambda api: api.call("PUT", path + where, body=found))


def test_the_rows_follow_the_nodes(env: Environment) -> None:
    assert nodes(env.store)[LOCAL].ready
    join(env, "node-1", zone="a")
    joined = nodes(env.store)["node-1"]
    assert (joined.labels["zone"], joined.unschedulable, joined.ready) == ("a", False, False)
    change(env, "node-1", spec={"unschedulable": True})
    until("node-1 to be cordoned", lambda: nodes(env.store)["node-1"].unschedulable)
    leave(env, "node-1")
    until("node-1 to be gone", lambda: "node-1" not in nodes(env.store))
    join(env, "node-1")
    assert nodes(env.store)["node-1"].uid != joined.uid


def test_heartbeats_of_a_kubelet_are_not_written(env: Environment) -> None:
    join(env, "node-1")
    before = nodes(env.store)["node-1"].seen_at
    for beat in range(5):
        condition = {"type": "Ready", "status": "False", "lastHeartbeatTime": f"2026-11-25T12:00:0{beat}Z"}
        change(env, "node-1", "/status", status={"conditions": [condition]})
    join(env, "node-2")
    assert nodes(env.store)["node-1"].seen_at == before


def test_a_new_collector_finds_which_nodes_joined_and_left(env: Environment) -> None:
    join(env, "node-1")
    env.stop_collecting()
    leave(env, "node-1")
    join_later = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2"}}
    env.ask(lambda api: api.call("POST", "/api/v1/nodes", body=join_later))
    env.collect("two")
    until("the newer nodes", lambda: nodes(env.store).keys() == {LOCAL, "node-2"})


@pytest.mark.parametrize("cause", [Cause.FORBIDDEN, Cause.CLUSTER_UNREACHABLE])
def test_nodes_that_may_not_be_listed_are_deleted_and_those_of_an_unreachable_cluster_kept(
    env: Environment, monkeypatch: pytest.MonkeyPatch, cause: Cause
) -> None:
    list_objects, failed, allowed = ClusterApi.list_objects, threading.Event(), threading.Event()

    async def fail_for_nodes(self: ClusterApi, path: str, selector: str = "") -> tuple[list[dict[str, Any]], str]:
        if path == NODES_PATH and not allowed.is_set():
            failed.set()
            raise ClusterError(cause, "refused by the test")
        return await list_objects(self, path, selector)

    env.stop_collecting()
    monkeypatch.setattr(ClusterApi, "list_objects", fail_for_nodes)
    env.collect("two")
    assert failed.wait(20)
    if cause is Cause.FORBIDDEN:
        until("the nodes to be deleted", lambda: not nodes(env.store))
        assert env.find(Cluster, "local").nodes_error == "permission missing: list and watch nodes"
    else:
        assert LOCAL in nodes(env.store)
    allowed.set()
    until("the nodes to be listed", lambda: LOCAL in nodes(env.store) and not env.find(Cluster, "local").nodes_error)


def test_changes_that_the_database_did_not_accept_are_listed_again(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_all, failed = node_rows.replace_all, list[str]()

    def fail_once(store: Store, cluster: str, *args: Any) -> list[str]:
        if not failed:
            failed.append(cluster)
            raise OperationalError("UPDATE", {}, Exception("unavailable"))
        return replace_all(store, cluster, *args)

    env.stop_collecting()
    env.ask(lambda api: api.call("POST", "/api/v1/nodes", body={"kind": "Node", "metadata": {"name": "node-3"}}))
    monkeypatch.setattr(node_rows, "replace_all", fail_once)
    env.collect("two")
    until("node-3 to be known", lambda: "node-3" in nodes(env.store))
    assert failed == ["local"]


def test_a_pod_is_pinned_to_its_node_and_gets_its_name(env: Environment) -> None:
    run_id = env.start(env.at_the_gate + SAYS_ITS_NODE, node=LOCAL)
    pod = env.wait_until_running(run_id)
    assert (pod["spec"]["nodeName"], pod["metadata"]["annotations"]["kubeprobe.io/node"]) == (LOCAL, LOCAL)
    assert {"operator": "Exists"} in pod["spec"]["tolerations"]
    env.open_the_gate()
    outcome = env.outcome(run_id)
    assert (outcome.verdict, outcome.node, outcome.node_level) == (Verdict.PASS, LOCAL, True)
    assert outcome.report is not None
    assert outcome.report["metrics"] == {LOCAL: 1}


def test_a_pod_on_any_node_gets_its_name_and_its_outcome_is_not_of_the_node(env: Environment) -> None:
    outcome = env.outcome(env.start(SAYS_ITS_NODE))
    assert (outcome.node, outcome.node_level) == (LOCAL, False)
    assert outcome.report is not None
    assert outcome.report["metrics"] == {LOCAL: 1}


def test_a_run_whose_node_leaves_ends_at_once_and_its_pod_is_deleted(env: Environment) -> None:
    join(env, "node-1")
    run_id = env.start(PASS, node="node-1")
    leave(env, "node-1")
    assert_gone(env.outcome(run_id), "node-1")
    env.wait_until_no_pod_is_left()


def test_a_pending_run_ends_when_its_node_leaves(env: Environment) -> None:
    join(env, "node-1")
    run_id = env.open(PASS, node="node-1")
    leave(env, "node-1")
    assert_gone(env.outcome(run_id), "node-1")


def test_a_run_launched_for_a_node_that_has_left_ends_at_once(env: Environment) -> None:
    join(env, "node-1")
    env.stop_collecting()
    run_id = env.start(PASS, node="node-1")
    leave(env, "node-1")
    env.collect("two")
    assert_gone(env.outcome(run_id), "node-1")
    env.wait_until_no_pod_is_left()


def test_without_a_binding_with_nodes_no_node_is_written(env: Environment) -> None:
    want_nodes(env.store, wanted=False)
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-9"}}
    env.ask(lambda api: api.call("POST", "/api/v1/nodes", body=body))
    assert env.outcome(env.start(PASS)).verdict == Verdict.PASS
    assert "node-9" not in nodes(env.store)


def assert_gone(outcome: Outcome, node: str) -> None:
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.NODE_GONE)
    assert (outcome.node, outcome.node_level) == (node, True)
    assert outcome.message == f"Node {node} has left the cluster."
