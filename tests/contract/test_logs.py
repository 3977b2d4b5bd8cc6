"""Logs: whole, in part, followed, and the errors if there is none."""

import asyncio
from datetime import datetime

import aiohttp

from tests.contract.contract_api import BUSYBOX, Api, is_status, pod, pods, state

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


async def test_parts_of_a_log(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("talks", "for i in 1 2 3 4 5; do echo line $i; done; sleep 0.5; echo err >&2"))
    await api.ended(namespace, "talks")
    log = pods(namespace, "talks", "log")
    whole = await api.get(log)
    assert whole.split("\n")[:5] == [f"line {i}" for i in range(1, 6)]
    assert "err\n" in whole
    assert len((await api.get(log, tailLines="2")).splitlines()) == 2
    assert await api.get(log, tailLines="0") == ""
    assert await api.get(log, limitBytes="8") == whole[:8]
    assert await api.get(log, container="probe") == whole
    stamp, _, text = (await api.get(log, timestamps="true")).splitlines()[0].partition(" ")
    assert text == "line 1"
    assert datetime.fromisoformat(stamp[:19] + "+00:00")


async def test_a_log_is_followed_until_the_container_ends(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("grows", "echo first; sleep 1; echo second"))
    await api.pod_until(namespace, "grows", lambda p: p["status"].get("phase") in ("Running", "Succeeded"))
    timeout = aiohttp.ClientTimeout(total=60)
    url = api.host + pods(namespace, "grows", "log")
    async with api.session.get(url, params={"follow": "true"}, timeout=timeout) as answer:
        lines = [line async for line in answer.content]
    assert lines == [b"first\n", b"second\n"]


async def test_a_follower_may_disconnect(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("talks", f"echo hello; {FOREVER}"))
    await api.running(namespace, "talks")
    url = api.host + pods(namespace, "talks", "log")
    async with asyncio.timeout(30), api.session.get(url, params={"follow": "true"}) as answer:
        assert await answer.content.readline() == b"hello\n"
    assert (await api.get(pods(namespace, "talks", "log"))) == "hello\n"


async def test_there_is_no_log_before_the_start(api: Api, namespace: str) -> None:
    body = pod("waits", container={"image": "docker.io/kubeprobe/not-there:dev", "imagePullPolicy": "Never"})
    await api.post(pods(namespace), body)
    await api.waiting(namespace, "waits", "ErrImageNeverPull")
    refused = is_status(await api.get(pods(namespace, "waits", "log"), expect=400), 400, "BadRequest")
    assert refused["message"].startswith('container "probe" in pod "waits" is waiting to start: ')


async def test_a_log_of_several_containers_needs_a_container_name(api: Api, namespace: str) -> None:
    other = {"name": "other", "image": BUSYBOX, "command": ["sh", "-c", "echo other"]}
    await api.post(pods(namespace), pod("two", more=[other]))
    await api.ended(namespace, "two")
    log = pods(namespace, "two", "log")
    refused = is_status(await api.get(log, expect=400), 400, "BadRequest")
    assert refused["message"] == "a container name must be specified for pod two, choose one of: [probe other]"
    refused = is_status(await api.get(log, expect=400, container="none"), 400, "BadRequest")
    assert refused["message"] == "container none is not valid for pod two"
    assert await api.get(log, container="other") == "other\n"


async def test_there_is_no_previous_log_without_a_restart(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("once", "echo once"))
    await api.ended(namespace, "once")
    answer = await api.get(pods(namespace, "once", "log"), expect=400, previous="true")
    error_message = is_status(answer, 400, "BadRequest")["message"]
    assert error_message == 'previous terminated container "probe" in pod "once" not found'


async def test_the_previous_log_is_that_of_the_last_start(api: Api, namespace: str) -> None:
    # The second start keeps running: when it ends, a real node deletes the first one's log.
    script = f"if [ -f /shared/again ]; then echo again; {FOREVER}; fi; touch /shared/again; echo hello; exit 1"
    mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    volumes = [{"name": "shared", "emptyDir": {}}]
    body = pod("again", script, container=mounts, volumes=volumes, restartPolicy="OnFailure")
    await api.post(pods(namespace), body)
    await api.pod_until(
        namespace,
        "again",
        lambda p: "running" in state(p) and p["status"]["containerStatuses"][0]["restartCount"] == 1,
    )
    assert await api.get(pods(namespace, "again", "log"), previous="true") == "hello\n"


async def test_the_log_of_a_missing_pod_is_not_found(api: Api, namespace: str) -> None:
    is_status(await api.get(pods(namespace, "nobody", "log"), expect=404), 404, "NotFound")
