"""Clients of the real cluster: as its administrator, with few permissions, with wrong settings."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet

from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.fleet.transport import Request
from kubeprobe.store import Cluster
from tests.real.fleet.given import Accounts

Enter = Callable[[Path], Awaitable[ClusterApi]]


@pytest_asyncio.fixture
async def enter() -> AsyncIterator[Enter]:
    """A function that opens the API of a kubeconfig file's cluster."""
    cipher = Cipher(Fernet.generate_key().decode())
    clients = ClusterClients(cipher)

    async def to(path: Path) -> ClusterApi:
        connection = from_kubeconfig(path)
        return await clients.get(
            Cluster(
                name=secrets.token_hex(4),
                connection_kind=connection.kind,
                connection=cipher.seal(connection),
                created_at=datetime.now(UTC),
            )
        )

    yield to
    await clients.close()


@pytest_asyncio.fixture
async def admin(enter: Enter, kubeconfig: Path) -> ClusterApi:
    return await enter(kubeconfig)


@pytest_asyncio.fixture
async def namespace(admin: ClusterApi) -> AsyncIterator[str]:
    """A namespace of the test's own, ready for pods."""
    name = f"fleet-{secrets.token_hex(4)}"
    await admin.call("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    await _wait_for_default_account(admin, name)
    yield name
    await admin.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def accounts(admin: ClusterApi, namespace: str) -> Accounts:
    return Accounts(admin, namespace)


async def _wait_for_default_account(admin: ClusterApi, namespace: str) -> None:
    """Wait for the default service account, which pods need and the controller manager creates."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    look = {"fieldSelector": "metadata.name=default"}
    for _ in range(30):
        if (await admin.call("GET", path, query=look))["items"]:
            return
        await admin.send(Request("GET", path, look | {"watch": "true", "timeoutSeconds": "1"}))
    raise AssertionError(f"timed out after 30 s waiting for the default service account of namespace {namespace}")
