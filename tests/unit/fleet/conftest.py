"""What the fleet's tests share: a cipher, rows of clusters, and doors to servers of the test's own."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet

from kubeprobe.fleet.api import ClusterApi, Door
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind
from kubeprobe.store import Cluster

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def cipher() -> Cipher:
    return Cipher(Fernet.generate_key().decode())


@pytest_asyncio.fixture
async def door(cipher: Cipher) -> AsyncIterator[Door]:
    opened = Door(cipher)
    yield opened
    await opened.close()


@pytest.fixture
def row(cipher: Cipher) -> Callable[..., Cluster]:
    """A cluster's row with a kubeconfig connection: server, and whatever its cluster and user entries hold."""

    def build(server: str, *, name: str = "c", version: int = 1, cluster: Any = None, **user: Any) -> Cluster:
        config = {
            "clusters": [{"name": "cluster", "cluster": {"server": server} | (cluster or {})}],
            "users": [{"name": "cluster", "user": user}],
        }
        return Cluster(
            name=name,
            connection_kind="kubeconfig",
            connection=cipher.seal(Connection(ConnectionKind.KUBECONFIG, config)),
            connection_version=version,
            created_at=NOW,
        )

    return build


@pytest_asyncio.fixture
async def api(door: Door, row: Callable[..., Cluster], kmock: Any) -> ClusterApi:
    """The API of a cluster that kmock plays."""
    return await door.to(row(str(kmock.url), token="secret"))
