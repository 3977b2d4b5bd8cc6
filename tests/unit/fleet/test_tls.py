"""TLS: each problem has its own message, and valid configurations work."""

import asyncio
import gc
import json
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from kubeprobe.fleet import transport
from kubeprobe.fleet.api import ClusterClients, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster
from tests.unit.fleet.certificates import DAY, Authority, server_context

Row = Callable[..., Cluster]
Serve = Callable[[ssl.SSLContext | None], Awaitable[int]]


async def _who(request: web.Request) -> web.Response:
    assert request.transport is not None
    certificate = request.transport.get_extra_info("peercert") or {}
    names = dict(part for group in certificate.get("subject", ()) for part in group)
    return web.json_response({"gitVersion": names.get("commonName", "nobody")})


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers that return the name in the client's certificate; returns their port."""
    runners = []

    async def start(context: ssl.SSLContext | None) -> int:
        app = web.Application()
        app.router.add_get("/version", _who)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def ask(clients: ClusterClients, cluster: Cluster) -> str:
    return await (await clients.get(cluster)).version()


async def refused(clients: ClusterClients, cluster: Cluster) -> str:
    with pytest.raises(ClusterError) as caught:
        await ask(clients, cluster)
    assert caught.value.cause is Cause.CLUSTER_UNREACHABLE
    return caught.value.message


def trusting(authority: Authority, **more: Any) -> dict[str, Any]:
    return {"certificate-authority-data": authority.pair.certificate_data} | more


async def test_a_client_certificate_is_sent(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="127.0.0.1"), tmp_path, authority))
    client = authority.issue("kubeprobe")
    user = {"client-certificate-data": client.certificate_data, "client-key-data": client.key_data}
    assert await ask(clients, row(f"https://127.0.0.1:{port}", cluster=trusting(authority), **user)) == "kubeprobe"
    nobody = row(f"https://127.0.0.1:{port}", name="nobody", cluster=trusting(authority))
    assert await refused(clients, nobody)


async def test_the_server_name_may_differ_from_the_address(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="api.example.com"), tmp_path))
    named = trusting(authority, **{"tls-server-name": "api.example.com"})
    assert await ask(clients, row(f"https://127.0.0.1:{port}", cluster=named)) == "nobody"


async def test_verification_can_be_switched_off(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="elsewhere", ends=-DAY), tmp_path))
    loose = {"insecure-skip-tls-verify": True}
    assert await ask(clients, row(f"https://127.0.0.1:{port}", cluster=loose)) == "nobody"


async def test_an_expired_certificate_is_named(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="127.0.0.1", ends=-DAY), tmp_path))
    message = await refused(clients, row(f"https://127.0.0.1:{port}", cluster=trusting(authority)))
    assert "its certificate has expired; renew" in message


async def test_an_unknown_authority_is_named(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="127.0.0.1"), tmp_path))
    for cluster in (trusting(Authority("another")), {}):
        message = await refused(clients, row(f"https://127.0.0.1:{port}", name=f"c{len(cluster)}", cluster=cluster))
        assert "signed by an unknown authority; check certificate-authority-data" in message


async def test_a_certificate_for_another_address_is_named(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="10.0.0.9"), tmp_path))
    cluster = row(f"https://127.0.0.1:{port}", cluster=trusting(authority))
    assert "its certificate is for another address" in await refused(clients, cluster)


async def test_a_certificate_for_another_host_name_is_named(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    port = await serve(server_context(authority.issue("server", host="a.example.com"), tmp_path))
    named = trusting(authority, **{"tls-server-name": "b.example.com"})
    message = await refused(clients, row(f"https://127.0.0.1:{port}", cluster=named))
    assert "its certificate is for another host name" in message


async def test_an_address_without_tls_is_named(clients: ClusterClients, row: Row, serve: Serve) -> None:
    port = await serve(None)
    message = await refused(clients, row(f"https://127.0.0.1:{port}"))
    assert "the server does not use TLS; is the address http instead of https?" in message


async def test_an_address_where_nobody_listens_is_named(clients: ClusterClients, row: Row) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port meanwhile
        port = held.getsockname()[1]
        message = await refused(clients, row(f"https://127.0.0.1:{port}"))
    assert message == f"cannot connect to 127.0.0.1:{port}: Connection refused"


async def test_a_host_without_an_address_is_named(clients: ClusterClients, row: Row) -> None:
    message = await refused(clients, row("https://nowhere.invalid:6443"))
    assert "the host name nowhere.invalid cannot be resolved" in message


async def test_a_black_hole_times_out(clients: ClusterClients, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that accepts connections and sends nothing: neither TLS nor HTTP."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = hole.getsockname()[1]
        async with asyncio.timeout(60):
            assert "the connection timed out" in await refused(clients, row(f"https://127.0.0.1:{port}"))
            monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 10)
            monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.2)
            assert "no response within" in await refused(clients, row(f"http://127.0.0.1:{port}", name="plain"))


async def test_many_requests_share_few_connections(
    clients: ClusterClients, row: Row, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    """Connections are reused, so that not every request needs a TLS handshake."""
    context = server_context(authority.issue("server", host="127.0.0.1"), tmp_path)
    port = await serve(context)
    cluster = row(f"https://127.0.0.1:{port}", cluster=trusting(authority))
    for _ in range(20):
        await ask(clients, cluster)
    assert context.session_stats()["accept"] == 1


async def test_a_watch_over_tls_reads_long_events_with_a_small_buffer(
    clients: ClusterClients, row: Row, authority: Authority, tmp_path: Path
) -> None:
    """asyncio's own 256 KiB for each connection would be most of a collector's memory."""
    name = "x" * 1_000_000

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for kind in ("ADDED", "DELETED"):
            event = {"type": kind, "object": {"metadata": {"name": name}}}
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/ns/pods", watch)
    runner = web.AppRunner(app)
    await runner.setup()
    context = server_context(authority.issue("server", host="127.0.0.1"), tmp_path)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    api = await clients.get(row(f"https://127.0.0.1:{runner.addresses[0][1]}", cluster=trusting(authority)))
    async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
        kind, pod = await anext(events)
        sizes = {found.max_size for found in gc.get_objects() if isinstance(found, SSLProtocol)}
        rest = [kind async for kind, _ in events]
    await runner.cleanup()
    assert (kind, pod["metadata"]["name"] == name, rest) == ("ADDED", True, ["DELETED"])
    assert min(sizes) == transport.STREAM_BUFFER_BYTES
