"""What blocks a thread blocks no other cluster, no event loop, and not the executor that commits and renews."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kmock as km
import pytest

from kubeprobe.fleet import access, blocking, resolver, transport
from kubeprobe.fleet.access import AccessError, AccessSource
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.errors import Cause, ClusterError, QueueTimeoutError
from kubeprobe.fleet.resolver import BoundedResolver
from kubeprobe.store import Cluster
from tests.harness.wait import until
from tests.unit.fleet.rows import connection_to

pytestmark = pytest.mark.kmock(cls=km.RawHandler)
Row = Callable[..., Cluster]


async def test_concurrent_calls_with_one_key_are_one_call() -> None:
    calls: BlockingCalls[int] = BlockingCalls("test", limit=2, slow_limit=1)
    begun, made = threading.Event(), []

    def work() -> int:
        begun.wait(10)
        made.append(1)
        return len(made)

    waiting = [asyncio.ensure_future(calls.run("key", work, 10)) for _ in range(20)]
    await asyncio.sleep(0)
    begun.set()
    assert await asyncio.gather(*waiting) == [1] * 20
    assert await calls.run("key", work, 10) == 2
    assert calls.running == 0


async def test_the_error_of_a_call_is_raised_where_it_is_awaited() -> None:
    calls: BlockingCalls[None] = BlockingCalls("test", limit=1, slow_limit=1)

    def fail() -> None:
        raise KeyError("x")

    for result in await asyncio.gather(*(calls.run("key", fail, 10) for _ in range(2)), return_exceptions=True):
        assert isinstance(result, KeyError)
    assert await calls.run("key", lambda: None, 10) is None


async def test_calls_that_do_not_return_leave_their_threads_to_others(released: threading.Event) -> None:
    calls: BlockingCalls[Any] = BlockingCalls("test", limit=2, slow_limit=3, slow_after_s=0.01)
    stuck = [asyncio.ensure_future(calls.run(n, released.wait, 60)) for n in range(20)]
    await asyncio.to_thread(until, "all threads to be taken", lambda: calls.running == 5)
    for n in ("one", "two"):
        with pytest.raises(QueueTimeoutError):
            await calls.run(n, lambda: "done", 0.05)
    assert calls.running == 5
    assert not any(each.done() for each in stuck)
    for each in stuck:
        each.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    released.set()
    assert await calls.run("another", lambda: "done", 60) == "done"


async def test_what_was_slow_before_takes_no_thread_from_others(
    released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time passes only while the slow call runs: on a busy machine the fast one would be slow as well."""
    now = [0.0]
    monkeypatch.setattr(blocking, "time", SimpleNamespace(monotonic=lambda: now[0]))
    calls: BlockingCalls[Any] = BlockingCalls("test", limit=1, slow_limit=1, slow_after_s=0.01)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await calls.run("slow", released.wait, 0.1)
        now[0] += 1
        assert await calls.run("fast", lambda: 1, 10) == 1
    assert calls.running == 1, "a call that runs already is not started again"


async def test_a_call_that_nobody_needs_any_more_is_not_made(released: threading.Event) -> None:
    calls: BlockingCalls[Any] = BlockingCalls("test", limit=1, slow_limit=1, slow_after_s=60)
    first = asyncio.ensure_future(calls.run("first", released.wait, 10))
    await asyncio.sleep(0)
    made: list[int] = []
    with pytest.raises(TimeoutError):
        await calls.run("second", lambda: made.append(1), 0.05)
    released.set()
    await first
    await calls.run("third", lambda: None, 10)
    assert made == []


async def test_clusters_whose_names_do_not_resolve_delay_nobody(
    clients: ClusterClients,
    row: Row,
    kmock: km.RawHandler,
    monkeypatch: pytest.MonkeyPatch,
    released: threading.Event,
) -> None:
    """60 clusters on a silent name server: another cluster and asyncio's own executor work."""
    monkeypatch.setattr(resolver, "RESOLVE_TIMEOUT_S", 300)  # the silent ones wait until the end of the test
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 300)
    port = kmock.url.port

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host.startswith("silent"):
            released.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    calls: BlockingCalls[Any] = BlockingCalls("test", limit=8, slow_limit=64, slow_after_s=0.05)
    monkeypatch.setattr(transport, "BoundedResolver", lambda: BoundedResolver(look_up, calls))
    kmock["get /version"] << {"gitVersion": "v1"}
    silent = [await clients.get(row(f"http://silent-{n}.example:{port}", name=f"c{n}")) for n in range(60)]
    waiting = [asyncio.ensure_future(api.version()) for api in silent]
    await asyncio.sleep(0)
    healthy = await clients.get(row(f"http://healthy.example:{port}", name="healthy"))
    assert await asyncio.wait_for(healthy.version(), 60) == "v1"
    assert await asyncio.to_thread(lambda: "free") == "free"
    assert not any(each.done() for each in waiting)
    monkeypatch.setattr(resolver, "RESOLVE_TIMEOUT_S", 0.1)
    another = await clients.get(row(f"http://silent.example:{port}", name="another"))
    with pytest.raises(ClusterError, match=r"silent.example cannot be resolved: no name server responded") as caught:
        await another.version()
    assert caught.value.cause is Cause.CLUSTER_UNREACHABLE
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "nowhere.invalid"])
async def test_a_name_that_cannot_exist_is_an_error_of_the_cluster(
    clients: ClusterClients, row: Row, host: str
) -> None:
    with pytest.raises(ClusterError, match=f"the host name {host} cannot be resolved") as caught:
        await (await clients.get(row(f"https://{host}:6443"))).version()
    assert caught.value.cause is Cause.CLUSTER_UNREACHABLE


async def test_names_of_this_machine_resolve() -> None:
    found = await BoundedResolver().resolve("localhost", 6443, socket.AF_INET)
    assert [(each["host"], each["port"], each["hostname"]) for each in found] == [("127.0.0.1", 6443, "localhost")]


async def test_a_token_file_that_nobody_writes_is_an_error(tmp_path: Path) -> None:
    """A named pipe: opening it would block until there is a writer."""
    os.mkfifo(tmp_path / "token")
    source = AccessSource(lambda: connection_to("https://h", user={"tokenFile": str(tmp_path / "token")}))
    with pytest.raises(AccessError, match="token cannot be read: it is not a regular file"):
        await source.current()


async def test_files_that_cannot_be_read_in_time_delay_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, released: threading.Event
) -> None:
    """As on a network file system whose server is gone."""
    read = access.read_regular_file

    def read_slowly(path: Path, *more: Any) -> bytes:
        if path.name == "gone":
            released.wait()
        return read(path, *more)

    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(access, "read_regular_file", read_slowly)
    monkeypatch.setattr(access, "LOAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(access, "_FILES", BlockingCalls("test", limit=4, slow_limit=64, slow_after_s=0.02))
    gone = [AccessSource(lambda: connection_to("https://h", user={"tokenFile": "/gone"})) for _ in range(40)]
    results = await asyncio.gather(*(each.current() for each in gone), return_exceptions=True)
    expected = {
        AccessError: "no credentials: its token file was not read within 0.2 s",
        QueueTimeoutError: "[Errno 11] all threads for test were busy for 0.2 s",
    }
    assert all(str(each) == expected[type(each)] for each in results)  # type: ignore[index]
    assert AccessError in map(type, results), "those that had a thread"
    monkeypatch.setattr(access, "LOAD_TIMEOUT_S", 10)
    healthy = AccessSource(lambda: connection_to("https://h", user={"tokenFile": str(tmp_path / "token")}))
    assert (await healthy.current()).authorization == "Bearer t"
    assert await asyncio.to_thread(lambda: "free") == "free"
