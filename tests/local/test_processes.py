"""Containers are processes: what they can use of this machine, and that none outlives its pod."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeprobe.localcluster import Backoff, Image
from kubeprobe.localcluster.kubelet.process import MARK
from kubeprobe.localcluster.kubelet.reaper import mark_of, marked
from tests.contract.contract_api import Api, is_status, phase, pod, pods, state
from tests.harness.wait import until
from tests.local.program import program

NAMESPACE = "kubeprobe"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
# Background processes, also in sessions of their own and with another environment.
TREE = "sleep 1000 & setsid sleep 1001 & setsid env -u NOTHING sleep 1002 & echo started; exec sleep 1003"
Start = Callable[..., Any]


async def ended_log(api: Api, body: dict) -> str:
    await api.post(pods(NAMESPACE), body)
    await api.ended(NAMESPACE, body["metadata"]["name"])
    return str(await api.get(pods(NAMESPACE, body["metadata"]["name"], "log")))


async def until_none(mark: str) -> None:
    """Wait until no process carries the mark."""
    async with asyncio.timeout(30):
        while list(marked(mark)):  # noqa: ASYNC110 -- there is no notification when a process of another parent ends
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_process_is_left_when_the_cluster_ends(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    with program(tmp_path / "program") as (process, url):
        _, api = await start(token=None)
        api.host = url
        await api.post(pods(NAMESPACE), pod("tree", TREE))
        uid = (await api.running(NAMESPACE, "tree"))["metadata"]["uid"]
        marks = {mark_of(pid, f"{MARK}=") for pid in marked(f"{MARK}=")}
        (mark,) = {mark for mark in marks if uid in mark}
        process.send_signal(number)
        await asyncio.to_thread(process.wait, 30)
        await until_none(mark)


def test_a_process_is_found_while_it_executes_another_program(tmp_path: Path) -> None:
    """The kernel shows no environment meanwhile; a sweep at this moment would leave the process."""
    again = tmp_path / "again"
    again.write_text('#!/bin/sh\nexec "$0"\n')
    again.chmod(0o755)
    with subprocess.Popen([again], env={MARK: "here"}) as process:
        found = [mark_of(process.pid, f"{MARK}=") for _ in range(2000)]
        process.kill()
    assert set(found) == {f"{MARK}=here"}
    assert mark_of(process.pid, f"{MARK}=") == ""


def test_a_process_without_variables_has_no_mark() -> None:
    with subprocess.Popen(["/bin/sleep", "1000"], env={}) as process:
        assert mark_of(process.pid, f"{MARK}=") == ""
        process.kill()


async def test_no_process_is_left_when_a_container_ends(start: Start) -> None:
    cluster, api = await start()
    await ended_log(api, pod("leaves", "sleep 1000 & setsid sleep 1001 & exit 0"))
    mark = f"{MARK}={cluster.instance}/"
    await until_none(mark)


async def test_no_process_is_left_when_a_pod_is_deleted(start: Start) -> None:
    cluster, api = await start()
    await api.post(pods(NAMESPACE), pod("tree", TREE))
    await api.first_line(NAMESPACE, "tree", "started\n")
    assert len(list(marked(f"{MARK}={cluster.instance}/"))) >= 4, "the shell and its children"
    await api.delete(pods(NAMESPACE, "tree"), gracePeriodSeconds="0")
    await until_none(f"{MARK}={cluster.instance}/")
    # The kubelet deletes the folder afterwards, without a notification.
    await asyncio.to_thread(until, "its folder to be gone", lambda: not list((cluster.directory / "pods").iterdir()))


async def test_python_is_this_interpreter_and_can_import_the_client_library(start: Start) -> None:
    _, api = await start()
    script = "import sys, importlib.util as u; print(sys.executable); print(bool(u.find_spec('kubeprobe_client')))"
    container = {"image": "docker.io/kubeprobe/probes:dev", "command": ["python", "-c", script]}
    assert (await ended_log(api, pod("python", container=container))).split() == [sys.executable, "True"]


async def test_a_directory_can_serve_as_an_image(start: Start, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_probe.py").write_text("print('mine')")
    (tmp_path / "mine" / "tool").write_text("#!/bin/sh\necho tool\n")
    (tmp_path / "mine" / "tool").chmod(0o755)
    _, api = await start(images=[Image.from_directory("example.com/mine", tmp_path / "mine")])
    container = {"image": "example.com/mine:v1", "command": ["sh", "-c", "tool; pwd; cd /; python -m my_probe"]}
    log = await ended_log(api, pod("mine", container=container))
    assert log.split() == ["tool", str(tmp_path / "mine"), "mine"]


async def test_a_throttled_pull_is_reported(start: Start) -> None:
    _, api = await start()
    await api.post(pods(NAMESPACE), pod("throttled", container={"image": "kubeprobe/throttled:dev"}))
    seen = await api.waiting(NAMESPACE, "throttled", "ErrImagePull")
    assert "429 Too Many Requests" in state(seen)["waiting"]["message"]


async def test_a_container_finds_the_api_by_its_kubeconfig(start: Start) -> None:
    _, api = await start()
    script = (
        "from kubernetes import client, config\n"
        "config.load_kube_config()\n"
        "_, active = config.list_kube_config_contexts()\n"
        "print(client.CoreV1Api().read_namespaced_pod('asks', active['context']['namespace']).metadata.name)\n"
    )
    container = {"image": "docker.io/kubeprobe/probes:dev", "command": ["python", "-c", script]}
    assert await ended_log(api, pod("asks", container=container)) == "asks\n"


async def test_a_pods_token_expires_with_the_pod(start: Start) -> None:
    _, api = await start()
    log = await ended_log(api, pod("shows", 'cat "$KUBECONFIG"'))
    token = log.partition('"token": "')[2].partition('"')[0]
    assert token
    path = api.host + pods(NAMESPACE)
    async with api.anonymous.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
        is_status(await answer.json(), 401, "Unauthorized")


async def test_a_container_over_its_memory_limit_is_ended_with_all_processes(start: Start) -> None:
    _, api = await start()
    script = "python -c 'import time; x = bytearray(80 << 20); time.sleep(60)' & wait"
    resources = {"limits": {"memory": "50Mi"}}
    container = {"image": "docker.io/kubeprobe/probes:dev", "resources": resources}
    await api.post(pods(NAMESPACE), pod("hungry", script, container=container))
    terminated = state(await api.ended(NAMESPACE, "hungry"))["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


async def test_back_off_grows(start: Start) -> None:
    _, api = await start(backoff=Backoff(first=0.05, longest=0.1))
    await api.post(pods(NAMESPACE), pod("crash", "exit 1", restartPolicy="Always"))

    def restarted_often(seen: dict) -> bool:
        return bool(seen["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) >= 4)

    assert phase(await api.pod_until(NAMESPACE, "crash", restarted_often)) == "Running"


async def test_a_program_without_permission_cannot_start(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    _, api = await start()
    await api.post(pods(NAMESPACE), pod("denied", container={"command": [str(program)]}))
    terminated = state(await api.ended(NAMESPACE, "denied"))["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("StartError", 126)


async def test_a_pod_deleted_at_once_leaves_no_process(start: Start) -> None:
    cluster, api = await start()
    names = [f"p{number}" for number in range(20)]
    await asyncio.gather(*(api.post(pods(NAMESPACE), pod(name, TREE)) for name in names))
    await asyncio.gather(*(api.delete(pods(NAMESPACE, name), gracePeriodSeconds="0") for name in names))
    assert (await api.get(pods(NAMESPACE)))["items"] == []
    await until_none(f"{MARK}={cluster.instance}/")


async def test_a_pod_for_another_node_waits(start: Start) -> None:
    _, api = await start()
    await api.post(pods(NAMESPACE), pod("elsewhere", nodeName="moon"))
    await api.post(pods(NAMESPACE), pod("here"))
    await api.ended(NAMESPACE, "here")
    assert phase(await api.get(pods(NAMESPACE, "elsewhere"))) == "Pending"


async def test_the_token_is_kept_with_the_directory(tmp_path: Path) -> None:
    directory, file = tmp_path / "kept", tmp_path / "kept" / "token"
    with program(directory, token=True):
        first = file.read_text()
    with program(directory, token=True):
        assert file.read_text() == first


async def test_a_port_in_use_is_an_error(start: Start) -> None:
    first, _ = await start()
    port = int(first.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await start(port=port)
