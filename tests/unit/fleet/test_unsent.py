"""What happens before a request is sent is no evidence about the cluster, and takes nothing from the request's time."""

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import kmock as km
import pytest

from kubeprobe.fleet import access, resolver, transport
from kubeprobe.fleet.access import AccessError, AccessSource
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.credentials import Connection
from kubeprobe.fleet.errors import Cause, ClusterError, QueueTimeoutError
from kubeprobe.fleet.resolver import BoundedResolver
from kubeprobe.store import Cluster
from tests.unit.fleet.rows import NOW, connection_to

pytestmark = pytest.mark.kmock(cls=km.RawHandler)
Row = Callable[..., Cluster]


@contextmanager
def no_more_files() -> Iterator[None]:
    """No file or socket can be opened."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


async def refused(api: ClusterApi) -> tuple[Cause, str]:
    with pytest.raises(ClusterError) as caught:
        await asyncio.wait_for(api.version(), 10)
    assert caught.value.status is None
    return caught.value.cause, caught.value.message


def write_plugin(folder: Path, script: str) -> dict[str, Any]:
    """An exec plugin: a shell script that may print the token `t` by `answer`."""
    version = "client.authentication.k8s.io/v1"
    credential = f'{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {{"token": "t"}}}}'
    (folder / "plugin").write_text(f"#!/bin/sh\nanswer() {{ echo '{credential}'; }}\n{script}\n")
    (folder / "plugin").chmod(0o755)
    return {"command": str(folder / "plugin"), "apiVersion": version}


async def test_a_slow_plugin_takes_nothing_from_the_time_of_the_request(
    clients: ClusterClients, row: Row, kmock: km.RawHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one time limit for both, hundreds of slow plugins open the breakers of healthy clusters."""
    kmock["get /version"] << {"gitVersion": "v1"}
    gate, limit_s = tmp_path / "gate", 0.3
    os.mkfifo(gate)
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", limit_s)
    api = await clients.get(row(str(kmock.url), exec=write_plugin(tmp_path, f"read line < {gate}; answer")))
    request = asyncio.create_task(api.version())
    done, _ = await asyncio.wait((request,), timeout=2 * limit_s)
    assert not done
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 60)  # the response comes as quickly as the machine allows
    await asyncio.to_thread(gate.write_text, "go\n")
    assert await asyncio.wait_for(request, 10) == "v1"


async def test_credentials_that_take_too_long_are_used_once_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    now = NOW

    def connect() -> Connection:
        released.wait()
        return connection_to("http://127.0.0.1", user={"token": "t"})

    source = AccessSource(connect, lambda: now)
    monkeypatch.setattr(access, "ACCESS_TIMEOUT_S", 0.05)
    for _ in range(2):
        with pytest.raises(AccessError, match=r"no credentials: they were not loaded within 0.05 s"):
            await source.current()
        now += timedelta(seconds=1)
    monkeypatch.setattr(access, "ACCESS_TIMEOUT_S", 10)
    waiting = asyncio.create_task(source.current())
    await asyncio.sleep(0)
    released.set()
    assert (await waiting).authorization == "Bearer t"


async def test_later_requests_do_not_wait_for_what_failed_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    now, loads = NOW, list[str]()

    def connect() -> Connection:
        nonlocal now
        loads.append("load")
        now += timedelta(seconds=10)
        raise OSError("the file server does not respond")

    source = AccessSource(connect, lambda: now)
    for pause_s in (5, 10, 20):
        for _ in range(3):
            with pytest.raises(AccessError, match="no credentials: the file server does not respond"):
                await source.current()
        now += timedelta(seconds=pause_s)
    assert len(loads) == 3


async def test_a_lack_of_file_descriptors_is_named(clients: ClusterClients, row: Row, kmock: km.RawHandler) -> None:
    kmock["get /version"] << {"gitVersion": "v1"}
    api = await clients.get(row(str(kmock.url)))
    assert await api.version() == "v1"  # the credentials are loaded
    others = await clients.get(row(f"http://[::1]:{kmock.url.port}", name="numeric"))
    await refused(others)
    with no_more_files():
        found = await refused(others)
    assert found == (Cause.NOT_SENT, "no request was sent: Too many open files")


async def test_a_lack_of_file_descriptors_is_not_called_an_unknown_name() -> None:
    """The C library reports a host that exists as unknown if it can open no file."""
    found = BoundedResolver(calls=BlockingCalls("test", limit=1, slow_limit=1))
    with no_more_files(), pytest.raises(OSError, match="Too many open files"):
        await found.resolve("nowhere.invalid", 443)


async def test_a_full_pool_of_names_is_named(
    clients: ClusterClients, row: Row, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    begun = threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        begun.set()
        released.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    calls: BlockingCalls[Any] = BlockingCalls("cluster-names", limit=1, slow_limit=1, slow_after_s=60)
    monkeypatch.setattr(transport, "BoundedResolver", lambda: BoundedResolver(look_up, calls))
    monkeypatch.setattr(resolver, "RESOLVE_TIMEOUT_S", 0.2)
    first, second = [await clients.get(row(f"http://{name}.example", name=name)) for name in ("silent", "healthy")]
    waiting = asyncio.create_task(refused(first))
    await asyncio.to_thread(begun.wait, 60)
    healthy = await refused(second)
    assert (await waiting)[0] is Cause.CLUSTER_UNREACHABLE
    assert healthy == (Cause.NOT_SENT, "no request was sent: all threads for cluster-names were busy for 0.2 s")


async def test_waiting_for_a_slot_is_named(
    clients: ClusterClients, row: Row, kmock: km.RawHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ends = asyncio.Event(), asyncio.Event()

    async def answer() -> None:
        began.set()
        await ends.wait()

    kmock["get /version"] << answer
    monkeypatch.setattr(transport, "PARALLEL_REQUESTS", 1)
    monkeypatch.setattr(transport, "SLOT_TIMEOUT_S", 0.1)
    api = await clients.get(row(str(kmock.url)))
    busy = asyncio.create_task(api.version())
    await began.wait()
    expected = "no request was sent: the limit of 1 concurrent requests was reached for 0.1 s"
    assert await refused(api) == (Cause.NOT_SENT, expected)
    busy.cancel()
    ends.set()


async def test_a_lack_of_threads_is_no_failure_of_the_connection(
    clients: ClusterClients, row: Row, kmock: km.RawHandler, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    """Other clusters' files took all threads: it is named, and the next request tries again."""
    kmock["get /version"] << {"gitVersion": "v1"}
    files: BlockingCalls[Any] = BlockingCalls("cluster-files", limit=1, slow_limit=1, slow_after_s=60)
    monkeypatch.setattr(access, "_FILES", files)
    monkeypatch.setattr(access, "LOAD_TIMEOUT_S", 0.05)
    monkeypatch.setattr(access, "SLOW_FAILURE", timedelta(0))
    busy = asyncio.create_task(files.run("another", released.wait, 60))
    await asyncio.sleep(0)
    api = await clients.get(row(str(kmock.url)))
    for _ in range(2):
        found = await refused(api)
        assert found == (Cause.NOT_SENT, "no request was sent: all threads for cluster-files were busy for 0.05 s")
    monkeypatch.setattr(access, "LOAD_TIMEOUT_S", 60)
    released.set()
    await busy
    assert await api.version() == "v1"


async def test_a_lack_of_threads_for_a_tls_context_is_named(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    contexts: BlockingCalls[Any] = BlockingCalls("cluster-tls", limit=1, slow_limit=1, slow_after_s=60)
    monkeypatch.setattr(access, "_CONTEXTS", contexts)
    monkeypatch.setattr(access, "TLS_TIMEOUT_S", 0.05)
    busy = asyncio.create_task(contexts.run("another", released.wait, 60))
    await asyncio.sleep(0)
    with pytest.raises(QueueTimeoutError, match="all threads for cluster-tls were busy"):
        await AccessSource(lambda: connection_to("https://h", user={"token": "t"})).current()
    released.set()
    await busy


async def test_an_address_that_an_earlier_version_stored_is_no_evidence(clients: ClusterClients, row: Row) -> None:
    assert (await refused(await clients.get(row("http://h:99999"))))[0] is Cause.NOT_SENT


async def test_a_removed_client_ends_what_it_loads(released: threading.Event) -> None:
    def connect() -> Connection:
        released.wait()
        raise AssertionError

    source = AccessSource(connect)
    waiting = asyncio.create_task(source.current())
    await asyncio.sleep(0)
    await source.close()
    with pytest.raises(AccessError, match="was replaced or removed"):
        await waiting
