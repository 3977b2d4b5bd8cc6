"""What a log line says of the work that it is about, without its writer saying so."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from kubeprobe.backoff import Backoff
from kubeprobe.execution.collect import watch as watching
from kubeprobe.execution.collect.committer import Committer, Finished
from kubeprobe.execution.collect.context import WatchContext
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.fleet.errors import Cause, cluster_error
from kubeprobe.metrics import REGISTRY
from kubeprobe.settings import Settings
from tests.harness.wait import until
from tests.services.execution.apiserver import OddApi
from tests.services.execution.conftest import INSTALLATION
from tests.services.execution.given import PASSED, Clock, ExecutionWorld
from tests.services.execution.test_committer import Wakes
from tests.services.execution.test_workers import wakes
from workers import launching

__all__ = ["wakes"]


async def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a fault of KubeProbe")


def refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("never")


async def unreachable(*_: Any, **__: Any) -> Any:
    raise cluster_error(Cause.CLUSTER_UNREACHABLE, "no route to host")


def pod_of(run_id: str, attempt: int, policy: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"kp-{run_id}",
            "uid": f"uid-{run_id}",
            "creationTimestamp": "2026-11-23T12:00:00Z",
            "labels": {"kubeprobe.io/run": run_id, "kubeprobe.io/attempt": str(attempt)},
            "annotations": {"kubeprobe.io/policy": policy},
        },
        "spec": {"containers": [{"name": "probe"}]},
        "status": {"phase": "Pending"},
    }


POLICY = '{"verdictFrom": "report", "startS": 60, "runS": 90, "retries": 0}'


@pytest.fixture
async def watch(world: ExecutionWorld, cipher: Cipher, settings: Settings, clock: Clock) -> AsyncIterator[ClusterWatch]:
    committer = Committer(world.store, Wakes(), settings, clock)
    clients = ClusterClients(cipher)
    yield ClusterWatch(
        world.find_cluster("prod-1"),
        WatchContext(world.store, clients, committer, settings, INSTALLATION, clock),
        "here",
    )
    await clients.close()


def test_a_line_deep_in_a_launch_names_task_cluster_run_and_attempt(
    world: ExecutionWorld, wakes: Wakes, api: OddApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reach("there", api.url)
    world.run("r1", "r2", cluster="there")
    monkeypatch.setattr(Launcher, "_create", broken)
    with capture_logs(processors=[merge_contextvars]) as lines:
        launching.launch.apply(args=["there", ["r1", "r2"]], task_id="t1", throw=True)
    bound = {(line["task"], line["task_id"], line["cluster"], line["run"], line["attempt"]) for line in lines}
    assert bound == {("kubeprobe.launch", "t1", "there", "r1", 1), ("kubeprobe.launch", "t1", "there", "r2", 1)}
    assert get_contextvars() == {}


async def test_a_line_about_a_collected_pod_names_its_cluster_run_and_attempt(
    watch: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterApi, "delete_pod", unreachable)
    monkeypatch.setattr(watching, "DELETE_BACKOFF", Backoff(first=timedelta(0), longest=timedelta(0)))
    seen = PodObservation.read(pod_of("r1", 2, POLICY))
    assert seen is not None
    with capture_logs(processors=[merge_contextvars]) as lines:
        # As the committer starts it: in a task of its own.
        await asyncio.create_task(watch.finish(Finished(watch, seen.ending(PASSED), seen)))
    (line,) = lines
    assert (line["event"], line["cluster"], line["run"], line["attempt"]) == ("pod not deleted", "prod-1", "r1", 2)
    assert get_contextvars() == {}


async def test_a_pod_that_cannot_be_judged_leaves_nothing_to_the_next_line_of_its_watch(
    watch: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "judge", refuse)
    with capture_logs(processors=[merge_contextvars]) as lines:
        watch._observe(pod_of("r1", 3, POLICY))
    (line,) = lines
    assert (line["cluster"], line["run"], line["attempt"], line["exc_info"]) == ("prod-1", "r1", 3, True)
    assert get_contextvars() == {}


async def test_two_watches_do_not_share_what_they_bind(
    watch: ClusterWatch, world: ExecutionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster("prod-2")
    other = ClusterWatch(world.find_cluster("prod-2"), watch._context, "there")
    monkeypatch.setattr(ClusterApi, "list_objects", unreachable)
    failed = {"prod-1", "prod-2"}
    with capture_logs(processors=[merge_contextvars]) as lines:
        tasks = [asyncio.create_task(one.run()) for one in (watch, other)]

        def both_log() -> bool:
            return {line["cluster"] for line in lines if line["event"] == "pods not followed"} >= failed

        await asyncio.to_thread(until, "both to log", both_log)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert {line["cluster"] for line in lines} == failed
    assert get_contextvars() == {}


async def test_an_outcome_that_the_store_refuses_is_logged_with_its_cluster(
    watch: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Committer, "_commit", refuse)
    seen = PodObservation.read(pod_of("r1", 1, POLICY))
    assert seen is not None
    ending = seen.ending(PASSED)
    with capture_logs(processors=[merge_contextvars]) as lines:
        assert await watch._context.committer._commit_until_stored([Finished(watch, ending, seen)], ()) == [ending]
    assert {(line["cluster"], line["run"], line["attempt"]) for line in lines} == {("prod-1", "r1", 1)}


async def test_a_watch_is_counted_while_it_is_open_and_when_it_breaks(
    watch: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def listed(*_: Any) -> tuple[list[Any], str]:
        return [], "1"

    async def silent(*_: Any) -> AsyncIterator[Any]:
        await go_on.wait()
        raise cluster_error(Cause.GONE, "too old")
        yield

    def broken() -> float:
        return REGISTRY.get_sample_value("kubeprobe_watch_failures_total", {"kind": "pods", "cause": "Gone"}) or 0

    def is_open() -> float:
        return REGISTRY.get_sample_value("kubeprobe_watches", {"kind": "pods"}) or 0

    before, opened_before = broken(), is_open()
    monkeypatch.setattr(ClusterApi, "list_objects", listed)
    monkeypatch.setattr(ClusterApi, "watch_objects", silent)
    task = asyncio.create_task(watch.run())
    await asyncio.to_thread(until, "the watch", lambda: is_open() == opened_before + 1)
    go_on.set()
    await asyncio.to_thread(until, "its end", lambda: broken() > before)
    task.cancel()
    await asyncio.wait([task])
    assert is_open() == opened_before
