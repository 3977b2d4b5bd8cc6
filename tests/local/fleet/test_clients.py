"""The client with the local cluster: the same as with a real one."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from kubeprobe.fleet.api import ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.check import check_cluster
from kubeprobe.fleet.check_pod import ImageTrial
from kubeprobe.fleet.credentials import Cipher, local
from kubeprobe.fleet.errors import Cause, ClusterError
from tests.unit.fleet.rows import cluster_row

PATIENCE_S = 30
Json = dict[str, Any]


@pytest_asyncio.fixture
async def api(clients: ClusterClients, cipher: Cipher, start: Callable[..., Any]) -> ClusterApi:
    cluster, _ = await start()
    return await clients.get(cluster_row(cipher, local(cluster.kubeconfig)))


def pod(name: str, script: str) -> Json:
    container = {"name": "probe", "image": "docker.io/kubeprobe/busybox:dev", "command": ["sh", "-c", script]}
    meta = {"name": name, "labels": {"app": name}}
    return {"metadata": meta, "spec": {"restartPolicy": "Never", "containers": [container]}}


async def wait_for(api: ClusterApi, created: Json, what: str) -> Json:
    """The pod when its container is `terminated`, or it is `DELETED`."""
    version = created["metadata"]["resourceVersion"]
    watch = api.watch_objects(pods_path("kubeprobe"), f"app={created['metadata']['name']}", version)
    async with asyncio.timeout(PATIENCE_S), aclosing(watch) as events:
        async for kind, seen in events:
            containers = seen["status"].get("containerStatuses") or [{}]
            if kind == what or what in containers[0].get("state", {}):
                return seen
    raise AssertionError(f"the pod was never {what}")


async def test_a_pod_from_creation_to_deletion(api: ClusterApi) -> None:
    created = await api.create_pod("kubeprobe", pod("p", "echo one; exit 1"))
    with pytest.raises(ClusterError) as caught:
        await api.create_pod("kubeprobe", pod("p", "true"))
    assert caught.value.cause is Cause.ALREADY_EXISTS
    ended = (await wait_for(api, created, "terminated"))["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 1
    assert await api.read_log("kubeprobe", "p") == "one\n"
    async with asyncio.timeout(PATIENCE_S), aclosing(api.follow_log("kubeprobe", "p")) as lines:
        assert [line async for line in lines] == ["one"]
    uid = created["metadata"]["uid"]
    await api.delete_pod("kubeprobe", "p", "another")
    assert (await api.get_pod("kubeprobe", "p"))["metadata"]["uid"] == uid
    await api.delete_pod("kubeprobe", "p", uid, grace_s=0)
    await wait_for(api, created, "DELETED")
    await api.delete_pod("kubeprobe", "p", uid)
    assert (await api.list_objects(pods_path("kubeprobe"), "app=p"))[0] == []


async def test_a_missing_namespace_is_named(api: ClusterApi) -> None:
    with pytest.raises(ClusterError) as caught:
        await api.create_pod("no-such-namespace", pod("p", "true"))
    assert caught.value.cause is Cause.NAMESPACE_MISSING


async def test_a_field_that_the_cluster_does_not_have_is_an_error(api: ClusterApi) -> None:
    """Without it, a probe would run in another way than its template says."""
    unknown = pod("p", "true")
    unknown["spec"]["containers"][0]["ofALaterVersion"] = True
    with pytest.raises(ClusterError, match=r'unknown field "spec.containers\[0\].ofALaterVersion"') as caught:
        await api.create_pod("kubeprobe", unknown)
    assert caught.value.cause is Cause.INVALID


async def test_the_server_ends_a_quiet_watch_before_it_counts_as_failed(api: ClusterApi) -> None:
    _, version = await api.list_objects(pods_path("kubeprobe"))
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(api.watch_objects(pods_path("kubeprobe"), "", version, 3.5)) as events,
    ):
        assert {kind async for kind, _ in events} <= {"BOOKMARK"}


async def test_the_local_cluster_passes_its_check(api: ClusterApi) -> None:
    findings = await check_cluster(api, "kubeprobe", ImageTrial("docker.io/kubeprobe/pause:dev", "01test"))
    assert all(finding.ok for finding in findings), findings
    assert (await api.list_objects(pods_path("kubeprobe")))[0] == []
