"""Clusters that send too much, or what Kubernetes never sends: an error of that cluster, within bounded memory."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import kmock as km
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from kubeprobe.fleet import api as api_module
from kubeprobe.fleet import transport
from kubeprobe.fleet.api import ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.check import check_cluster
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster

pytestmark = pytest.mark.kmock(cls=km.RawHandler)
Row = Callable[..., Cluster]
Endless = Answering = Callable[..., Awaitable[ClusterApi]]
LIMIT = 100_000


@pytest_asyncio.fixture
async def endless(clients: ClusterClients, row: Row) -> AsyncIterator[Endless]:
    """Starts a server whose responses have no end; `sent` counts their bytes."""
    servers = []

    async def start(chunk: bytes, status: int = 200) -> ClusterApi:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=status)
            await response.prepare(request)
            while True:
                await response.write(chunk)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        servers.append(server)
        await server.start_server()
        return await clients.get(row(str(server.make_url("")), token="secret"))

    yield start
    for server in servers:
        await server.close()


@pytest_asyncio.fixture
async def answering(clients: ClusterClients, row: Row) -> AsyncIterator[Answering]:
    """Starts a server that gives one answer to everything."""
    servers = []

    async def start(body: bytes, headers: dict[str, str]) -> ClusterApi:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=body, headers=headers)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        servers.append(server)
        await server.start_server()
        return await clients.get(row(str(server.make_url("")), token="secret"))

    yield start
    for server in servers:
        await server.close()


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "BODY_LIMIT", LIMIT)
    monkeypatch.setattr(transport, "LINE_LIMIT", LIMIT)


async def too_long(call: Awaitable[Any]) -> str:
    with pytest.raises(ClusterError) as caught:
        await asyncio.wait_for(call, 10)
    assert caught.value.cause is Cause.CLUSTER_UNREACHABLE
    return caught.value.message


async def test_a_response_without_end_is_an_error(endless: Endless) -> None:
    api = await endless(b"x" * 10_000)
    message = await too_long(api.send(transport.Request("GET", "/version")))
    assert message.startswith(f"the response is longer than {transport.BODY_LIMIT} bytes: check the server address")


async def test_a_line_of_a_watch_without_end_is_an_error(endless: Endless) -> None:
    api = await endless(b"x" * 10_000)
    async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
        assert f"a line of the response is longer than {LIMIT} bytes" in await too_long(anext(events))


async def test_a_line_of_a_log_without_end_is_an_error(endless: Endless) -> None:
    api = await endless(b"x" * 10_000)
    async with aclosing(api.follow_log("ns", "p")) as lines:
        assert f"a line of the response is longer than {LIMIT} bytes" in await too_long(anext(lines))


async def test_a_log_without_end_is_an_error(endless: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "LOG_LIMIT_BYTES", LIMIT)
    api = await endless(b"line\n" * 1_000)
    assert f"the response is longer than {2 * LIMIT} bytes" in await too_long(api.read_log("ns", "p"))


async def test_an_error_without_end_is_cut(endless: Endless) -> None:
    api = await endless(b"no " * 1_000, status=503)
    with pytest.raises(ClusterError, match="HTTP 503: no no no") as caught:
        await asyncio.wait_for(api.version(), 10)
    assert (caught.value.cause, len(caught.value.message) < 300) == (Cause.SERVER_ERROR, True)


async def test_a_compressed_response_is_measured_as_it_is_read(answering: Answering) -> None:
    body = gzip.compress(b" " * 50 * LIMIT + b"{}")
    assert len(body) < LIMIT
    api = await answering(body, {"Content-Encoding": "gzip"})
    assert "the response is longer than" in await too_long(api.send(transport.Request("GET", "/version")))


async def test_a_list_without_end_is_an_error(
    api: ClusterApi, kmock: km.RawHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "PAGES_LIMIT", 3)
    kmock["get /api/v1/nodes"] << {"metadata": {"continue": "more", "resourceVersion": "1"}, "items": [{}]}
    assert "the response has more than 3 pages" in await too_long(api.list_objects("/api/v1/nodes"))
    assert len(kmock["get"]) == 3


async def test_many_lines_in_one_long_stream_are_read(api: ClusterApi, kmock: km.RawHandler) -> None:
    line = json.dumps({"type": "ADDED", "object": {"metadata": {"name": "x" * (LIMIT // 2)}}}).encode() + b"\n"
    kmock["get /api/v1/namespaces/ns/pods"] << line * 20
    async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
        assert [kind async for kind, _ in events] == ["ADDED"] * 20


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"", b"{", b'{"metadata": 1}', b'{"items": {}}'])
async def test_a_list_that_is_not_one_is_an_error(api: ClusterApi, kmock: km.RawHandler, body: bytes) -> None:
    kmock["get /api/v1/nodes"] << body
    assert "the response is not" in await too_long(api.list_objects("/api/v1/nodes"))


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b"{}",
        b"{",
        b"\xff",
        b'{"type": 1, "object": {"metadata": {}}}',
        b'{"type": "BOOKMARK", "object": {"metadata": 1}}',
        b'{"type": "ADDED"}',
    ],
)
async def test_a_line_that_is_not_an_event_is_an_error(api: ClusterApi, kmock: km.RawHandler, line: bytes) -> None:
    kmock["get /api/v1/namespaces/ns/pods"] << line + b"\n"
    async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
        assert "the watch " in await too_long(anext(events))


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Jan 2026 10:00:00 GMT", "Mon, 23 Nov 99999 12:00:00 GMT"])
async def test_a_date_that_is_not_one_is_a_finding(answering: Answering, date: str) -> None:
    api = await answering(b'{"gitVersion": 1, "status": 2}', {"Date": date})
    found = {finding.check: finding for finding in await check_cluster(api, "ns")}
    assert not found["clock"].ok
    assert not found["permissions"].ok


@pytest.mark.parametrize("token", ["two\nlines", "t\r\nX-Header: v", "\0"])
async def test_a_token_that_an_earlier_version_stored_cannot_add_headers(
    clients: ClusterClients, row: Row, kmock: km.RawHandler, token: str
) -> None:
    kmock["get /version"] << {"gitVersion": "v1"}
    with pytest.raises(ClusterError):
        await (await clients.get(row(str(kmock.url), token=token))).version()
    assert not list(kmock["get"])


@pytest.mark.parametrize("line", [b'{"type": "ERROR", "object": 1}', b'{"type": "ERROR"}'])
async def test_an_error_event_without_a_status_is_an_error(api: ClusterApi, kmock: km.RawHandler, line: bytes) -> None:
    kmock["get /api/v1/namespaces/ns/pods"] << line + b"\n"
    async with aclosing(api.watch_objects(pods_path("ns"), "", "1")) as events:
        with pytest.raises(ClusterError):
            await anext(events)
