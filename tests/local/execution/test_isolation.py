"""One bad pod, node or event of a cluster stops nothing else, and `doctor` shows it."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from kubeprobe import vocabulary
from kubeprobe.backoff import Backoff
from kubeprobe.clock import utc_now
from kubeprobe.execution.collect import watch
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.fleet.api import NODES_PATH, ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, cluster_error
from kubeprobe.health.facts import fleet_health
from kubeprobe.health.judgements import judge_fleet
from kubeprobe.metrics import REGISTRY
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import Reason
from tests.harness.wait import until
from tests.local.execution.environment import FAIL, NAMESPACE, Environment

AT_ONCE = Backoff(first=timedelta(0), longest=timedelta(0))


def trouble(env: Environment) -> str:
    return str(env.find(Cluster, "local").watch_trouble)


def findings(env: Environment) -> dict[str, str]:
    """What `doctor` finds wrong with clusters."""
    with env.store.reading() as session:
        return {f.check: f.found for f in judge_fleet(fleet_health(session, utc_now())) if not f.ok}


def set_aside(kind: str) -> float:
    return REGISTRY.get_sample_value("kubeprobe_objects_set_aside_total", {"kind": kind}) or 0.0


@pytest.fixture
def pod(env: Environment) -> Iterator[dict[str, Any]]:
    """A running probe's pod, deleted in the end."""
    found = env.wait_until_running(env.start("sleep 60"))
    yield found
    env.delete(found, grace_s=0)


@pytest.mark.parametrize("policy", ["{", "[]", '{"verdictFrom": "report"}', "null"])
def test_a_pod_whose_annotation_is_broken_is_set_aside_and_shown(
    env: Environment, pod: dict[str, Any], policy: str
) -> None:
    patch = {"metadata": {"annotations": {vocabulary.ANNOTATION_POLICY: policy}}}
    env.ask(lambda api: api.merge_patch(pods_path(NAMESPACE, pod["metadata"]["name"]), patch, {}))
    before = set_aside("pods")
    env.collect()
    assert env.outcome(env.start()).reason == Reason.PASSED
    until("the trouble to be shown", lambda: pod["metadata"]["name"] in findings(env).get("watching", ""))
    assert set_aside("pods") > before
    env.delete(pod, grace_s=0)
    until("the trouble to end", lambda: not trouble(env))


def test_a_watch_that_fails_again_and_again_is_shown(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("nobody has thought of this")

    monkeypatch.setattr(watch.ClusterWatch, "_replace", fail)
    env.collect()
    until("the trouble to be shown", lambda: "nobody has thought of this" in findings(env).get("watching", ""))


@pytest.mark.parametrize("where", ["_replace", "_write"])
def test_a_watch_of_nodes_that_fails_again_and_again_is_shown(
    env: Environment, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("nobody has thought of this")

    with env.store.writing() as session:
        session.execute(update(Cluster).values(watches_nodes=True))
    monkeypatch.setattr(NodeWatch, where, fail)
    env.collect()
    if where == "_write":
        until("the nodes", lambda: env.find(Cluster, "local").nodes_listed_at)
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}}
        env.ask(lambda api: api.call("POST", "/api/v1/nodes", body=node))
    shown = "following its nodes failed"
    until("the trouble to be shown", lambda: shown in findings(env).get("watching", ""))
    assert "nobody has thought of this" in trouble(env)
    if where == "_write":
        env.ask(lambda api: api.call("DELETE", "/api/v1/nodes/new"))


def test_a_list_of_nodes_that_fails_again_and_again_is_shown(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    list_objects = ClusterApi.list_objects

    async def fail(self: ClusterApi, path: str, selector: str = "") -> tuple[list[Any], str]:
        if path == NODES_PATH:
            raise cluster_error(Cause.SERVER_ERROR, "etcd is slow", status=500)
        return await list_objects(self, path, selector)

    with env.store.writing() as session:
        session.execute(update(Cluster).values(watches_nodes=True))
    monkeypatch.setattr(ClusterApi, "list_objects", fail)
    env.collect()
    until("the trouble to be shown", lambda: "nodes not followed: etcd is slow" in findings(env).get("watching", ""))


def test_a_list_that_is_forbidden_is_shown(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbid(*_: Any) -> None:
        raise cluster_error(Cause.FORBIDDEN, "pods is forbidden: may not list", status=403)

    monkeypatch.setattr(ClusterApi, "list_objects", forbid)
    env.collect()
    until("the trouble to be shown", lambda: "may not list" in findings(env).get("watching", ""))


def test_an_odd_object_in_a_watch_is_left_out(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    odd: list[Any] = [{}, {"metadata": None}, {"metadata": {"name": "x", "uid": 1}}, "text", None, []]
    watch_objects, before = ClusterApi.watch_objects, set_aside("pods")

    async def sometimes_odd(self: ClusterApi, *args: Any) -> AsyncGenerator[tuple[str, Any], None]:
        async with aclosing(watch_objects(self, *args)) as changes:
            async for kind, found in changes:
                if odd:
                    yield "MODIFIED", odd.pop()
                yield kind, found

    monkeypatch.setattr(ClusterApi, "watch_objects", sometimes_odd)
    env.collect()
    while odd:  # each change of a pod brings one
        assert env.outcome(env.start()).reason == Reason.PASSED
    until("all to be set aside", lambda: set_aside("pods") >= before + 6)
    assert env.outcome(env.start()).reason == Reason.PASSED
    until("the trouble to be shown", lambda: "object" in trouble(env))


def test_a_deletion_that_is_forbidden_is_given_up_and_shown(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, tries = ClusterApi.delete_pod, list[str]()

    async def forbid(_: ClusterApi, _namespace: str, name: str, *_more: Any) -> None:
        tries.append(name)
        raise cluster_error(Cause.FORBIDDEN, "pods is forbidden", status=403)

    monkeypatch.setattr(ClusterApi, "delete_pod", forbid)
    monkeypatch.setattr(watch, "DELETE_BACKOFF", AT_ONCE)
    env.collect()
    env.outcome(env.start())
    until("all tries", lambda: len(tries) == watch.GIVEN_UP_AFTER)
    until("the trouble to be shown", lambda: "pods is forbidden" in findings(env).get("watching", ""))
    env.local.compact()  # the cluster is listed again
    env.outcome(env.start())
    until("all tries of the other pod", lambda: len(tries) >= 2 * watch.GIVEN_UP_AFTER)
    assert {tries.count(name) for name in tries} == {watch.GIVEN_UP_AFTER}
    monkeypatch.setattr(ClusterApi, "delete_pod", delete)
    env.stop_collecting()
    env.collect("two")
    env.wait_until_no_pod_is_left()
    until("the trouble to end", lambda: not trouble(env))


def test_the_log_of_a_pod_that_cannot_be_deleted_is_read_once(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, read, calls = ClusterApi.delete_pod, ClusterApi.read_log, list[str]()

    async def fail_at_first(self: ClusterApi, *args: Any) -> None:
        calls.append("delete")
        if calls.count("delete") <= 3:
            raise cluster_error(Cause.SERVER_ERROR, "etcd is slow", status=500)
        await delete(self, *args)

    async def fail_once(self: ClusterApi, *args: Any) -> str:
        calls.append("read")
        if calls.count("read") == 1:
            raise cluster_error(Cause.SERVER_ERROR, "the kubelet is slow", status=500)
        return await read(self, *args)

    monkeypatch.setattr(ClusterApi, "delete_pod", fail_at_first)
    monkeypatch.setattr(ClusterApi, "read_log", fail_once)
    monkeypatch.setattr(watch, "DELETE_BACKOFF", AT_ONCE)
    env.collect()
    run_id = env.start(FAIL)
    assert env.outcome(run_id).reason == Reason.REPORTED_FAILURE
    env.wait_until_no_pod_is_left()
    assert calls == ["read", "delete", "read", "delete", "delete", "delete"]
    assert "the log of a failure" in env.log(run_id)
