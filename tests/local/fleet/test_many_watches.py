"""A collector's load: a thousand clusters watched in one process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from kubeprobe.fleet.api import ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind
from kubeprobe.fleet.kubeconfig import flatten, read_kubeconfig
from tests.unit.fleet.rows import cluster_row

CLUSTERS = 1000
MOST_BYTES = 180_000_000
AT_A_TIME = 50
"""Clusters with requests: with all at once, some would not be answered within their time limit on a slow machine."""
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "probe", "image": "docker.io/kubeprobe/pause:dev"}]}}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of simulated clusters in a separate process."""
    path = tmp_path / "kubeconfig"
    command = [sys.executable, "-m", "kubeprobe.localcluster", "--clusters", str(CLUSTERS), "--kubeconfig", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        yield path
        process.terminate()


async def test_a_thousand_watched_clusters_fit_into_one_process(kubeconfig: Path) -> None:
    """Every watch is open and has yielded an event; this process uses little more memory."""
    before = _memory()
    cipher = Cipher(Fernet.generate_key().decode())
    clients, config = ClusterClients(cipher), read_kubeconfig(kubeconfig)
    seen: set[str] = set()
    everything = asyncio.Event()
    turns = asyncio.Semaphore(AT_A_TIME)

    async def follow(api: ClusterApi) -> None:
        await turns.acquire()
        _, version = await api.list_objects(pods_path("kubeprobe"))
        await api.create_pod("kubeprobe", POD)
        while True:  # the server ends each watch after a minute
            async with aclosing(api.watch_objects(pods_path("kubeprobe"), "", version)) as events:
                async for _ in events:
                    if api.cluster not in seen:
                        turns.release()
                    seen.add(api.cluster)
                    if len(seen) == CLUSTERS:
                        everything.set()

    watches = []
    for number in range(1, CLUSTERS + 1):
        name = f"c{number:04}"
        connection = Connection(ConnectionKind.KUBECONFIG, flatten(config, kubeconfig.parent, name))
        api = await clients.get(cluster_row(cipher, connection, name))
        watches.append(asyncio.create_task(follow(api)))
    all_seen = asyncio.create_task(everything.wait())
    try:
        ended, _ = await asyncio.wait({all_seen, *watches}, timeout=180, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()  # raises the error of a watch
        assert everything.is_set(), f"{len(seen)} watches have an event"
        used = _memory() - before
    finally:
        for task in (all_seen, *watches):
            task.cancel()
        await asyncio.gather(all_seen, *watches, return_exceptions=True)
        await clients.close()
    print(f"{used / 1e6:.0f} MB more with {CLUSTERS} watches")  # noqa: T201
    assert used < MOST_BYTES, f"{used / 1e6:.0f} MB"


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
