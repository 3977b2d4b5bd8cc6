"""Servers on loopback that record what a client of Kubernetes sends, for comparisons with kubectl."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.harness.ports import free_port
from tests.unit.fleet.certificates import Authority, Pair

VERSION = {"gitVersion": "v1.34.4", "major": "1", "minor": "34"}
_COMPARED = ("Authorization", "Impersonate-", "Accept-Encoding")


@dataclass(frozen=True)
class Sent:
    """What one request contained, as far as a kubeconfig decides it."""

    scheme: str
    path: str
    headers: tuple[tuple[str, str], ...]
    certificate: str
    """The common name of the client's certificate; empty without one."""
    sni: str


@dataclass
class Servers:
    """Servers for HTTPS and HTTP, and a proxy; the requests of each case by its number, which is in its path."""

    https: int
    http: int
    proxy: int
    authority: Authority
    client: Pair
    sent: dict[str, set[Sent]] = field(default_factory=dict)
    proxied: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Servers]:
    """Start the servers."""
    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issue("server", host=("127.0.0.1", "::1", "localhost", "other.example"))
    context.load_cert_chain(pair.write(folder / "server.pem"))
    context.load_verify_locations(cadata=authority.pair.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    names: dict[int, str] = {}
    context.sni_callback = lambda connection, name, _: names.__setitem__(id(connection), name or "")
    # Not one that the kernel chooses for IPv4: it may be taken for IPv6, by a connection.
    servers = Servers(free_port(), 0, 0, authority, authority.issue("kubeprobe"))

    async def record(request: web.Request) -> web.Response:
        case, _, path = request.path.lstrip("/").partition("/")
        assert request.transport is not None
        connection: Any = request.transport.get_extra_info("ssl_object")
        certificate: Any = (connection.getpeercert() if connection else None) or {}
        subject = dict(part for group in certificate.get("subject", ()) for part in group)
        sent = Sent(
            scheme="https" if connection else "http",
            path=path,
            headers=tuple(sorted(_compared(request))),
            certificate=subject.get("commonName", ""),
            sni=names.get(id(connection), "") if connection else "",
        )
        servers.sent.setdefault(case, set()).add(sent)
        return web.json_response(VERSION)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", record)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for host in ("127.0.0.1", "::1"):
            await web.TCPSite(runner, host, servers.https, ssl_context=context).start()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        servers.http = runner.addresses[-1][1]
        proxy = await asyncio.start_server(lambda r, w: _proxy(servers, r, w), "127.0.0.1", 0)
        stack.callback(proxy.close)
        servers.proxy = proxy.sockets[0].getsockname()[1]
        yield servers


def _compared(request: web.Request) -> list[tuple[str, str]]:
    found = [(name.title(), value) for name, value in request.headers.items() if name.title().startswith(_COMPARED)]
    compressed = any(name == "Accept-Encoding" and "gzip" in value for name, value in found)
    rest = [(name, value) for name, value in found if name != "Accept-Encoding"]
    return [*rest, ("Accept-Encoding", "gzip")] if compressed else rest


async def _proxy(servers: Servers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP proxy for CONNECT; the user name says which case it is."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    host, _, port = head[0].split()[1].rpartition(":")
    authorization = next((line for line in head if line.lower().startswith("proxy-authorization")), "")
    servers.proxied.setdefault(authorization.partition(":")[2].strip(), set()).add((head[0].split()[0], host))
    upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError):  # a client that does not read what the server sends at the end
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
    finally:
        writer.close()
