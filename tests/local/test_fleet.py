"""A fleet of simulated clusters: isolated from each other, scripted, and small."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import list_kube_config_contexts

from kubeprobe.localcluster import Script
from tests.contract.contract_api import Api, conditions, is_status, phase, pod, pods, state
from tests.local.program import program

NAMESPACE = "kubeprobe"
Start = Callable[..., Any]


def cluster(api: Api, name: str) -> Api:
    """A client of one simulated cluster."""
    return Api(api.session, f"{api.host}/clusters/{name}", api.kubeconfig, api.anonymous)


def scripted(name: str, **script: Any) -> dict:
    body = pod(name)
    body["metadata"]["annotations"] = {"localcluster.kubeprobe.io/script": json.dumps(script)}
    return body


@pytest.fixture
async def simulated(start: Start) -> Api:
    _, api = await start(clusters=2, script=Script(after=0.05))
    return cluster(api, "c0001")


def resident_bytes(pid: int) -> int:
    """The resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_clusters_do_not_share_objects(simulated: Api) -> None:
    other = Api(simulated.session, simulated.host.replace("c0001", "c0002"), simulated.kubeconfig, simulated.anonymous)
    await simulated.post(pods(NAMESPACE), pod("here"))
    await other.get(pods(NAMESPACE, "here"), expect=404)


async def test_an_unknown_cluster_is_not_found(start: Start) -> None:
    _, api = await start(clusters=2)
    is_status(await cluster(api, "c0003").get("/api/v1/pods", expect=404), 404, "NotFound")


async def test_a_pod_passes_by_default(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), pod("passes"))
    ended = await simulated.ended(NAMESPACE, "passes")
    terminated = state(ended)["terminated"]
    assert (phase(ended), terminated["exitCode"]) == ("Succeeded", 0)
    assert json.loads(terminated["message"])["ok"] is True


async def test_a_script_sets_exit_code_message_and_log(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("fails", exitCode=1, message="why", log="line\n"))
    terminated = state(await simulated.ended(NAMESPACE, "fails"))["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (1, "Error", "why")
    assert await simulated.get(pods(NAMESPACE, "fails", "log")) == "line\n"


async def test_a_script_can_end_a_pod_out_of_memory(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("oom", reason="OOMKilled"))
    terminated = state(await simulated.ended(NAMESPACE, "oom"))["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")


async def test_a_script_can_keep_a_pod_waiting(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("waits", waiting="ImagePullBackOff"))
    assert phase(await simulated.waiting(NAMESPACE, "waits", "ImagePullBackOff")) == "Pending"
    await simulated.delete(pods(NAMESPACE, "waits"))
    await simulated.gone(pods(NAMESPACE, "waits"))


async def test_a_script_can_make_a_pod_unschedulable(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("nowhere", unschedulable=True))
    seen = await simulated.pod_until(NAMESPACE, "nowhere", lambda p: "PodScheduled" in conditions(p))
    assert conditions(seen)["PodScheduled"]["reason"] == "Unschedulable"


async def test_a_script_can_evict_a_pod(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("evicted", evicted=True))
    ended = await simulated.ended(NAMESPACE, "evicted")
    assert (ended["status"]["reason"], state(ended)) == ("Evicted", {})


async def test_a_script_can_preempt_a_pod(simulated: Api) -> None:
    created = await simulated.post(pods(NAMESPACE), scripted("preempted", preempted=True))
    version = created["metadata"]["resourceVersion"]  # the pod may be gone before a watch without it begins
    async with simulated.watch(pods(NAMESPACE), resourceVersion=version) as events:
        while phase((event := await events.next("the pod's end"))["object"]) != "Failed":
            pass
        assert conditions(event["object"])["DisruptionTarget"]["reason"] == "PreemptionByScheduler"
        assert (await events.next("its deletion"))["type"] == "DELETED"


async def test_a_script_can_lose_the_node(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("lost", nodeLost=True))
    seen = await simulated.pod_until(NAMESPACE, "lost", lambda p: p["status"].get("reason") == "NodeLost")
    assert phase(seen) == "Running"
    assert "deletionTimestamp" in seen["metadata"]
    await simulated.delete(pods(NAMESPACE, "lost"), gracePeriodSeconds="0")
    await simulated.get(pods(NAMESPACE, "lost"), expect=404)


async def test_a_script_can_delete_the_pod(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("vanishes", vanish=True))
    await simulated.gone(pods(NAMESPACE, "vanishes"))


async def test_an_invalid_script_is_named_in_the_message(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("wrong", colour="blue"))
    terminated = state(await simulated.ended(NAMESPACE, "wrong"))["terminated"]
    assert "unknown script fields ['colour']" in terminated["message"]


async def test_a_running_pod_can_be_deleted(simulated: Api) -> None:
    await simulated.post(pods(NAMESPACE), scripted("long", after=1000))
    await simulated.running(NAMESPACE, "long")
    await simulated.delete(pods(NAMESPACE, "long"))
    await simulated.gone(pods(NAMESPACE, "long"))


async def test_one_kubeconfig_has_all_contexts(start: Start) -> None:
    local, _ = await start(clusters=3)
    contexts, current = list_kube_config_contexts(str(local.kubeconfig))
    assert [context["name"] for context in contexts] == ["local", "c0001", "c0002", "c0003", "kubectl"]
    assert current["name"] == "local"
    assert local.kubeconfig.stat().st_mode & 0o777 == 0o600


async def test_compaction_expires_older_watches(start: Start) -> None:
    local, api = await start()
    version = (await api.get(pods(NAMESPACE)))["metadata"]["resourceVersion"]
    maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    await api.post(maps, {"metadata": {"name": "m"}})
    local.compact()
    async with api.watch(maps, resourceVersion=version) as events:
        is_status((await events.next("the refusal"))["object"], 410, "Expired")


async def test_resource_versions_of_an_earlier_server_are_expired(start: Start) -> None:
    _, first = await start()
    version = (await first.get("/api/v1/pods"))["metadata"]["resourceVersion"]
    _, second = await start()
    async with second.watch("/api/v1/pods", resourceVersion=version) as events:
        is_status((await events.next("the refusal"))["object"], 410, "Expired")


async def test_a_watch_ends_with_its_client(start: Start) -> None:
    _, api = await start()
    async with api.watch("/api/v1/pods", labelSelector="nobody=has"):
        pass
    async with asyncio.timeout(10):
        while 'verb="WATCH"' not in await api.get("/metrics"):  # noqa: ASYNC110 -- counted when it ends
            await asyncio.sleep(0.02)


async def test_bookmarks_are_sent_regularly(start: Start) -> None:
    _, api = await start(bookmark_seconds=0.05)
    listed = await api.get("/api/v1/pods")
    query = {"resourceVersion": listed["metadata"]["resourceVersion"], "allowWatchBookmarks": "true"}
    async with api.watch("/api/v1/pods", **query) as events:
        assert [(await events.next("a bookmark"))["type"] for _ in range(2)] == ["BOOKMARK", "BOOKMARK"]


async def test_a_thousand_watched_clusters_need_little_memory(tmp_path: Path, start: Start) -> None:
    async def watch(name: str, begun: asyncio.Semaphore) -> None:
        async with cluster(api, name).watch("/api/v1/pods", resourceVersion="0") as events:
            begun.release()
            async for _ in events:
                pass

    _, api = await start(token=None)
    with program(tmp_path / "program", "--clusters", "1000") as (process, url):
        api.host = url
        begun = asyncio.Semaphore(0)
        watches = [asyncio.create_task(watch(f"c{number:04}", begun)) for number in range(1, 1001)]
        try:
            async with asyncio.timeout(60):
                for _ in watches:
                    await begun.acquire()
            assert resident_bytes(process.pid) < 150 * 1024 * 1024
        finally:
            for task in watches:
                task.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
