"""One client per cluster, replaced when its connection changes."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta

import kmock as km
import pytest
from cryptography.fernet import Fernet

from kubeprobe.fleet.api import IDLE_AFTER, ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster
from tests.unit.fleet.rows import NOW, cluster_row, connection_to

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

Row = Callable[..., Cluster]


async def test_a_cluster_has_one_client_until_its_connection_changes(clients: ClusterClients, row: Row) -> None:
    first = await clients.get(row("http://h", version=1))
    assert await clients.get(row("http://h", version=1)) is first
    second = await clients.get(row("http://h", version=2))
    assert second is not first
    assert await clients.get(row("http://h", version=1)) is second, "a row read earlier must not bring the old one back"


async def test_a_cluster_removed_and_added_again_gets_a_new_client(clients: ClusterClients, row: Row) -> None:
    first = await clients.get(row("http://h"))
    again = row("http://h")
    again.created_at += timedelta(seconds=1)
    assert await clients.get(again) is not first


async def test_a_new_connection_ends_the_watches_of_the_old_one(
    clients: ClusterClients, row: Row, kmock: km.RawHandler
) -> None:
    kmock["get /api/v1/namespaces/ns/pods"] << (
        b'{"type":"ADDED","object":{"metadata":{}}}\n',
        lambda: asyncio.sleep(30),
    )
    api = await clients.get(row(str(kmock.url)))
    async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
        await anext(events)
        await clients.get(row(str(kmock.url), version=2))
        with pytest.raises(ClusterError) as caught:
            await asyncio.wait_for(anext(events), 10)
    assert caught.value.cause is Cause.CLUSTER_UNREACHABLE


async def test_a_connection_encrypted_with_another_key_fails_its_requests_only(row: Row) -> None:
    clients = ClusterClients(Cipher("A" * 43 + "="))
    api = await clients.get(row("http://h"))
    with pytest.raises(ClusterError, match="encrypted with another key") as caught:
        await api.version()
    assert caught.value.cause is Cause.CREDENTIALS_UNAVAILABLE
    await clients.close()


def test_clients_belong_to_the_loop_of_their_first_use(cipher: Cipher, row: Row) -> None:
    clients = ClusterClients(cipher)
    cluster = row("http://h")
    with asyncio.Runner() as first:
        first.run(clients.get(cluster))
        with asyncio.Runner() as second, pytest.raises(RuntimeError, match="belong to the event loop"):
            second.run(clients.get(cluster))
        first.run(clients.close())


async def test_the_clients_of_removed_clusters_are_closed(cipher: Cipher, row: Row, kmock: km.RawHandler) -> None:
    """Nobody notifies a launcher that a cluster was removed or has moved: its clients must not stay for ever."""
    kmock["get /version"] << {"gitVersion": "v1"}
    kmock["get /api/v1/namespaces/ns/pods"] << (
        b'{"type":"ADDED","object":{"metadata":{}}}\n',
        lambda: asyncio.sleep(30),
    )
    now = NOW
    clients = ClusterClients(cipher, lambda: now)
    removed = [weakref.ref(await clients.get(row("http://h", name=f"c{n}"), f"place {n}")) for n in range(20)]
    used, watched = row(str(kmock.url), name="used"), row(str(kmock.url), name="watched")
    api = await clients.get(used)
    async with aclosing((await clients.get(watched)).watch_objects(pods_path("ns"), "", "1")) as events:
        await anext(events)
        following = await clients.get(watched)
        for _ in range(3):
            now += IDLE_AFTER / 2
            assert await api.version() == "v1"
            assert await clients.get(used) is api
        assert await clients.get(watched) is following
        gc.collect()
        assert [each for each in removed if each() is not None] == []
    await clients.close()


async def test_a_client_that_was_closed_while_idle_still_sends_requests(
    cipher: Cipher, row: Row, kmock: km.RawHandler
) -> None:
    kmock["get /version"] << {"gitVersion": "v1"}
    now = NOW
    clients = ClusterClients(cipher, lambda: now)
    api = await clients.get(row(str(kmock.url)))
    now += 2 * IDLE_AFTER
    assert await clients.get(row(str(kmock.url))) is not api
    assert await api.version() == "v1"
    await clients.close()


@pytest.mark.parametrize("how", ["send", "stream"])
async def test_a_client_that_is_loading_credentials_is_not_idle(
    row: Row, kmock: km.RawHandler, released: threading.Event, how: str
) -> None:
    begun = threading.Event()

    class Slow(Cipher):
        def open(self, sealed: bytes) -> Connection:
            begun.set()
            released.wait()
            return super().open(sealed)

    kmock["get /version"] << {"gitVersion": "v1"}
    kmock["get /api/v1/namespaces/ns/pods"] << b'{"type":"ADDED","object":{"metadata":{}}}\n'
    now = NOW
    key = Fernet.generate_key().decode()
    clients = ClusterClients(Slow(key), lambda: now)
    used, other = (cluster_row(Cipher(key), connection_to(str(kmock.url)), name) for name in ("used", "other"))
    api = await clients.get(used)
    now += IDLE_AFTER + timedelta(seconds=1)

    async def request() -> object:
        if how == "send":
            return await api.version()
        async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
            return await anext(events)

    waiting = asyncio.create_task(request())
    await asyncio.to_thread(begun.wait, 60)
    await clients.get(other)
    released.set()
    assert await waiting
    await clients.close()


async def test_clients_that_are_opened_while_others_close_are_no_error(
    clients: ClusterClients, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    async def close(self: ClusterApi) -> None:
        opened.append(await clients.get(row("http://h", name=f"late-{self.cluster}")))

    for name in ("one", "two"):
        await clients.get(row("http://h", name=name))
    with monkeypatch.context() as patch:
        patch.setattr(ClusterApi, "close", close)
        await clients.close()
    assert len(opened) == 2


@pytest.mark.parametrize("kind", ["kubeconfig", "of-a-newer-version", "local"])
async def test_a_stored_connection_that_cannot_be_read_fails_its_requests_only(
    clients: ClusterClients, cipher: Cipher, row: Row, kind: str
) -> None:
    cluster = row("http://h")
    cluster.connection = cipher.seal_values({"kind": kind, "config": {"secret": "s3cret"}})
    with pytest.raises(ClusterError, match="the stored connection is invalid in this version of KubeProbe") as caught:
        await (await clients.get(cluster)).version()
    assert caught.value.cause is Cause.CREDENTIALS_UNAVAILABLE
    assert "s3cret" not in str(caught.value)
