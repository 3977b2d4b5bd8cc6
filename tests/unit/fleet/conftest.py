"""Fixtures of the fleet's tests: a cipher, rows of clusters, and clients of test servers."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet

from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.store import Cluster
from tests.unit.fleet.rows import cluster_row, connection_to


@pytest.fixture
def cipher() -> Cipher:
    return Cipher(Fernet.generate_key().decode())


@pytest_asyncio.fixture
async def clients(cipher: Cipher) -> AsyncIterator[ClusterClients]:
    opened = ClusterClients(cipher)
    yield opened
    await opened.close()


@pytest.fixture
def row(cipher: Cipher) -> Callable[..., Cluster]:
    """A cluster's row with a kubeconfig connection: its server, the rest of its cluster entry, its user entry."""

    def build(server: str, *, name: str = "c", version: int = 1, cluster: Any = None, **user: Any) -> Cluster:
        return cluster_row(cipher, connection_to(server, cluster, user), name, version)

    return build


@pytest_asyncio.fixture
async def api(clients: ClusterClients, row: Callable[..., Cluster], kmock: Any) -> ClusterApi:
    """The API of a cluster that kmock plays."""
    return await clients.get(row(str(kmock.url), token="secret"))


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What blocks waits for this event, which is set after the test."""
    event = threading.Event()
    yield event
    event.set()
