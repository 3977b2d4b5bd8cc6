"""Many clusters at once and for long: no cross-talk, no leaks. Over loopback, against a server in a thread."""

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.fernet import Fernet

from kubeprobe.fleet import transport
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher
from tests.unit.fleet.rows import cluster_row, connection_to

PARALLEL = 10


async def _told_who_asked(request: web.Request) -> web.Response:
    """Returns the addressed cluster and the received credentials."""
    await asyncio.sleep(0)
    who = request.headers["Authorization"].removeprefix("Bearer ")
    return web.json_response({"gitVersion": f"{request.match_info['cluster']} {who}"})


@pytest.fixture
def echo() -> Iterator[str]:
    """A server of many clusters in a separate thread and loop; its address."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/clusters/{cluster}/version", _told_who_asked)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_100_clusters_in_50_threads_do_not_mix_responses(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failure mode 19. All clusters are on one host, so that their connections could be mixed up."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 120.0)  # 51 threads share one interpreter
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 120.0)
    cipher = Cipher(Fernet.generate_key().decode())
    names = [f"c{number:03}" for number in range(100)]

    async def ask_all() -> list[str]:
        clients, few = ClusterClients(cipher), asyncio.Semaphore(4)

        async def ask(name: str) -> str:
            connection = connection_to(f"{echo}/clusters/{name}", user={"token": f"token-of-{name}"})
            async with few:
                return await (await clients.get(cluster_row(cipher, connection, name))).version()

        try:
            return await asyncio.gather(*map(ask, names))
        finally:
            await clients.close()

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: asyncio.run(ask_all()), range(50)))
    assert found == [[f"{name} token-of-{name}" for name in names]] * 50


async def test_thousands_of_requests_and_renewals_leave_no_memory_threads_or_files(echo: str) -> None:
    """Failure mode 20, small: flat after a warm-up."""
    cipher = Cipher(Fernet.generate_key().decode())
    clients = ClusterClients(cipher)
    connection = connection_to(f"{echo}/clusters/c", user={"token": "t"})

    async def work(versions: range) -> None:
        for version in versions:
            api = await clients.get(cluster_row(cipher, connection, version=version))
            await asyncio.gather(*(api.version() for _ in range(PARALLEL)))

    unconnected = _used()
    await work(range(50))
    before = _used()
    await work(range(50, 350))
    after = _used()
    await clients.close()
    assert after[0] - before[0] < 8_000_000, "bytes of memory"
    assert after[1] <= before[1], "threads"
    assert after[2] <= unconnected[2] + 2 * PARALLEL, "open files: both ends of the pool's connections"


def _used() -> tuple[int, int, int]:
    """Bytes of memory (without mapped files, which the kernel drops at will), threads, open files of this process."""
    gc.collect()
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    memory = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return memory, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
