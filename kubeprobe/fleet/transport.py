"""HTTP requests to one cluster: with its access, within time limits. Errors are ClusterError.

All clusters share one session (one pool of connections, no cookies, nothing from the environment); address,
credentials and TLS of a cluster go with each request. Next: `fleet.api` has a method for each kind of request.
"""

import asyncio
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict

from kubeprobe import __version__
from kubeprobe.clock import Clock, utc_now
from kubeprobe.fleet.access import Access, AccessError, AccessSource
from kubeprobe.fleet.errors import Cause, ClusterError, cluster_error
from kubeprobe.fleet.measuring import request_trace
from kubeprobe.fleet.resolver import BoundedResolver
from kubeprobe.fleet.serverclock import ServerClock
from kubeprobe.fleet.translation import from_exception, from_response

CONNECT_TIMEOUT_S = 5.0
"""TCP and TLS handshake."""
REQUEST_TIMEOUT_S = 15.0
"""A whole request: name resolution, connection, response. Credentials and a slot have time limits of their own."""
SLOT_TIMEOUT_S = 15.0
"""Waiting for other requests to the cluster."""
PARALLEL_REQUESTS = 32
"""Concurrent requests to one cluster; watches and followed logs are not counted."""
BODY_LIMIT = 128 << 20
"""Bytes of a response, decompressed: a page of 500 objects has a few MB."""
ERROR_BODY_LIMIT = 64 << 10
"""Bytes that are read of the body of an error."""
LINE_LIMIT = 16 << 20
"""Bytes of a line of a watch; the API server accepts objects of 3 MB at most."""
STREAM_BUFFER_BYTES = 32 * 1024
"""The read buffer of a watch: two TLS records."""
_HEADERS = {"Accept": "application/json", "User-Agent": f"kubeprobe/{__version__}"}


@dataclass(frozen=True)
class Request:
    """A request to a cluster; `path` starts at the API's root, without the prefix that the server may have."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    """Of the body; patches have their own."""
    accept: str = ""
    """Another media type than JSON."""


@dataclass(frozen=True)
class Response:
    """A successful response."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def open_session() -> aiohttp.ClientSession:
    """The session that all clusters share. It belongs to the running loop."""
    return aiohttp.ClientSession(
        # No limit here: one host may serve many clusters; `PARALLEL_REQUESTS` limits each cluster.
        connector=aiohttp.TCPConnector(limit=0, resolver=BoundedResolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        headers=_HEADERS,
        trust_env=False,
        trace_configs=[request_trace()],
    )


class Transport:
    """Sends requests to one cluster. Raises ClusterError only, besides cancellation."""

    def __init__(
        self, cluster: str, session: aiohttp.ClientSession, source: AccessSource, clock: Clock = utc_now
    ) -> None:
        self._cluster = cluster
        self._session = session
        self._source = source
        self._slots = asyncio.Semaphore(PARALLEL_REQUESTS)
        self._streams: set[aiohttp.ClientResponse] = set()
        self._now = clock
        self._used_at = clock()
        self.clock = ServerClock()

    async def load_credentials(self) -> None:
        """Load the credentials if they are not loaded: requests sent now do not wait for them."""
        self._used_at = self._now()
        async with self._translating(f"cluster {self._cluster}"):
            await self._source.current()

    async def send(self, request: Request, limit: int | None = None) -> Response:
        """Send a request and read its whole response, which has at most `limit` bytes (default: `BODY_LIMIT`)."""
        self._used_at = self._now()
        limit = BODY_LIMIT if limit is None else limit
        async with self._translating(self.where(request)):
            await self._source.current()  # before a slot is taken
            async with self._slot(request), asyncio.timeout(None) as end:
                response = await self._open(request, None, end, REQUEST_TIMEOUT_S)
                async with response:
                    body = await _read_body(response, limit)
                    if len(body) > limit:
                        raise self._too_long(request, "the response", limit)
                    return Response(response.status, response.headers, body)

    async def stream(
        self, request: Request, silence_s: float, open_s: float = REQUEST_TIMEOUT_S
    ) -> AsyncGenerator[bytes, None]:
        """Send a request and yield its response line by line.

        Its headers must arrive within `open_s`; after them, a connection that is silent for `silence_s` has failed (a
        half-open connection shows no error by itself).
        """
        self._used_at = self._now()
        async with self._translating(self.where(request)):
            async with asyncio.timeout(None) as end:
                response = await self._open(request, silence_s, end, open_s)
            _shrink_tls_buffer(response)
            self._streams.add(response)
            try:
                async for line in _lines(response, LINE_LIMIT):
                    if len(line) > LINE_LIMIT:
                        raise self._too_long(request, "a line of the response", LINE_LIMIT)
                    yield line
            finally:
                self._streams.discard(response)
                response.close()  # not `release`, which reads the rest first

    def is_idle(self, since: datetime) -> bool:
        """Whether no request was begun since then, and no stream is open."""
        return not self._streams and self._used_at < since

    async def close(self) -> None:
        """Close the open streams: their readers get ClusterUnreachable."""
        for response in tuple(self._streams):
            response.close()
        await self._source.close()

    @asynccontextmanager
    async def _slot(self, request: Request) -> AsyncIterator[None]:
        """One of the concurrent requests to the cluster."""
        try:
            async with asyncio.timeout(SLOT_TIMEOUT_S):
                await self._slots.acquire()
        except TimeoutError:
            limit = f"the limit of {PARALLEL_REQUESTS} concurrent requests was reached for {SLOT_TIMEOUT_S:g} s"
            message = f"no request was sent: {limit}"
            raise cluster_error(Cause.NOT_SENT, message, where=self.where(request)) from None
        try:
            yield
        finally:
            self._slots.release()

    async def _open(
        self, request: Request, silence_s: float | None, end: asyncio.Timeout, limit_s: float
    ) -> aiohttp.ClientResponse:
        """The response to a request that succeeded. After a 401 it is sent once more with credentials loaded again.

        `end` is set to `limit_s` after the request was sent, and is not running while credentials are loaded.
        """
        now = asyncio.get_running_loop().time
        for is_last in (False, True):
            access = await self._source.current()
            end.reschedule(now() + limit_s)
            response = await self._attempt(request, access, silence_s)
            if response.status != 401 or is_last:
                break
            response.release()
            end.reschedule(None)
        if response.status < 300:
            return response
        async with response:
            body = await _read_body(response, ERROR_BODY_LIMIT)
        retry_after = response.headers.get("Retry-After")
        raise from_response(response.status, body, where=self.where(request), retry_after=retry_after)

    async def _attempt(self, request: Request, access: Access, silence_s: float | None) -> aiohttp.ClientResponse:
        sent = self._used_at = self._now()
        try:
            response = await self._session.request(
                request.method,
                access.server + request.path,
                params=request.query,
                data=None if request.body is None else orjson.dumps(request.body),
                headers=_headers(access, request, streamed=silence_s is not None),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s),
                allow_redirects=False,  # they would send the credentials to another server
                ssl=access.ssl,
                server_hostname=access.server_hostname,
                proxy=access.proxy,
            )
        except aiohttp.ClientConnectionError:
            self._source.discard_address(access)
            raise
        self.clock.observe(response.headers.get("Date"), sent, self._now())
        if response.status == 401:
            self._source.discard(access)
        return response

    @asynccontextmanager
    async def _translating(self, where: str) -> AsyncIterator[None]:
        """Translate every error into a ClusterError."""
        try:
            yield
        except AccessError as error:
            raise cluster_error(Cause.CREDENTIALS_UNAVAILABLE, str(error), where=where) from error
        # TimeoutError and ssl.SSLError are OSErrors; ValueError: aiohttp refuses an address or a header.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise from_exception(error, where=where) from error

    def _too_long(self, request: Request, what: str, limit: int) -> ClusterError:
        message = f"{what} is longer than {limit} bytes: check the server address and any proxy before it"
        return cluster_error(Cause.CLUSTER_UNREACHABLE, message, where=self.where(request))

    def where(self, request: Request) -> str:
        """The cluster and the request, for messages."""
        return f"cluster {self._cluster}: {request.method} {request.path}"


def _headers(access: Access, request: Request, *, streamed: bool) -> CIMultiDict[str]:
    headers = CIMultiDict(access.impersonation)
    if access.authorization:
        headers["Authorization"] = access.authorization
    if request.body is not None:
        headers["Content-Type"] = request.content_type
    if request.accept:
        headers["Accept"] = request.accept
    if streamed or not access.compresses:
        headers["Accept-Encoding"] = "identity"  # of a stream: a compressing proxy would hold lines back
    return headers


def _shrink_tls_buffer(response: aiohttp.ClientResponse) -> None:
    """Release most of the 256 KiB that asyncio holds for each TLS connection, as there may be a thousand watches.

    asyncio has no public API for it. With other internals (another version, another loop) this does nothing.
    """
    transport = response.connection.transport if response.connection else None
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    is_known = isinstance(protocol, SSLProtocol) and hasattr(protocol, "_ssl_buffer_view")
    if is_known:
        buffer = bytearray(STREAM_BUFFER_BYTES)
        protocol.max_size = STREAM_BUFFER_BYTES
        protocol._ssl_buffer, protocol._ssl_buffer_view = buffer, memoryview(buffer)  # noqa: SLF001


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, or its beginning if it is longer than `limit` bytes: one byte more, and the connection is closed."""
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            response.close()
            break
    return b"".join(parts)[: limit + 1]


async def _lines(response: aiohttp.ClientResponse, limit: int) -> AsyncIterator[bytes]:
    """The lines of a body (aiohttp's own `readline` refuses long ones). One that is longer than `limit` is the last."""
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            yield b"".join((*parts, line))
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)
        if size > limit:
            break
    if size:
        yield b"".join(parts)
