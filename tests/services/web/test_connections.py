"""Clients that never finish a request, or never read a response, cost others nothing."""

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol
from unittest.mock import Mock

import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kubeprobe.app import Installation
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from kubeprobe.web import make_app, webhooks
from kubeprobe.web.connections import MAX_CONNECTIONS, BoundedProtocol, Limits, Wait, bounded_protocol
from kubeprobe.web.webhooks import MAX_BODIES
from tests.harness.ports import free_port
from tests.harness.wait import until

HALF_A_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: kubeprobe\r\n"
HALF_A_BODY = b"POST /healthz HTTP/1.1\r\nHost: kubeprobe\r\nContent-Length: 1000000\r\n\r\n{"
HALF_A_CHUNK = b"POST /absent HTTP/1.1\r\nHost: kubeprobe\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"
HALF_A_PUSH = b"POST /api/v1/sources/a/webhook HTTP/1.1\r\nHost: kubeprobe\r\nContent-Length: 9\r\n\r\n{"
A_PUSH = HALF_A_PUSH + b"        "
UNREAD = b"GET / HTTP/1.1\r\nHost: kubeprobe\r\n\r\n"
UNREAD_1_0 = b"GET / HTTP/1.0\r\n\r\n"
LARGE = 30_000_000
"""Bytes: more than the kernel keeps for a client that does not read."""
PATIENT = dict.fromkeys(Wait, 60.0)
SHORT_S = 0.3
Connect = Callable[[int, bytes], socket.socket]


class Waits(dict[H11Protocol, None]):
    """The connections that wait for their clients, and what was waited for since the server started."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Wait] = []

    def __setitem__(self, connection: BoundedProtocol, value: None) -> None:  # type: ignore[override]
        super().__setitem__(connection, value)
        assert connection.wait is not None
        self.begun.append(connection.wait)


class Serve(Protocol):
    """Starts a server; returns its port."""

    def __call__(self, limits: Limits | None = None, app: object = None) -> int: ...


@pytest.fixture
def application(store: Store) -> FastAPI:
    """The web."""
    return make_app(Installation(Settings(), store, Queue.connect("redis://127.0.0.1:1/0")))


@pytest.fixture
def serve(application: FastAPI) -> Iterator[Serve]:
    """Starts the web, or another application, with a protocol; gives its port."""
    with ExitStack() as stack:

        def start(limits: Limits | None = None, app: object = None) -> int:
            port = free_port()
            protocol = bounded_protocol(limits or Limits(PATIENT))
            served: Any = app or application
            config = uvicorn.Config(
                served, port=port, log_config=None, lifespan="off", http=protocol, timeout_keep_alive=60
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            until("the server to listen", lambda: server.started)
            stack.callback(thread.join, 30)
            stack.callback(setattr, server, "force_exit", True)
            stack.callback(setattr, server, "should_exit", True)
            return port

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def begin(port: int, text: bytes) -> socket.socket:
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            opened.sendall(text)
            return opened

        yield begin


async def large(scope: Any, receive: Any, send: Any) -> None:
    """An application that sends a large response."""
    await receive()
    body = b"ok" if scope["path"] == "/healthz" else b"0" * LARGE
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def status(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
        return int(answer.status)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes it; fails after the socket's time-out."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    return True


def test_healthz_answers_whatever_number_of_clients_send_half_a_request(serve: Serve, connect: Connect) -> None:
    port = serve()
    first = connect(port, HALF_A_REQUEST)
    for _ in range(MAX_CONNECTIONS):
        connect(port, HALF_A_REQUEST)
    assert status(port) == 200
    assert is_closed(first), "the one that waited longest makes room"


@pytest.mark.parametrize("text", [HALF_A_BODY, HALF_A_CHUNK, HALF_A_PUSH])
def test_healthz_answers_whatever_number_of_clients_send_half_a_body(
    serve: Serve, connect: Connect, text: bytes
) -> None:
    port = serve(Limits(PATIENT, connections=10))
    first = connect(port, text)
    for _ in range(20):
        connect(port, text)
    assert status(port) == 200
    assert is_closed(first)


@pytest.mark.parametrize("text", [UNREAD, UNREAD * 50, UNREAD_1_0])
def test_healthz_answers_whatever_number_of_clients_do_not_read_their_response(
    serve: Serve, connect: Connect, text: bytes
) -> None:
    port = serve(Limits(PATIENT, connections=4), large)
    clients = [connect(port, text) for _ in range(4)]
    for client in clients:
        assert client.recv(12) == b"HTTP/1.1 200"  # the response was sent, as far as the kernel takes it
    assert status(port) == 200


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (HALF_A_REQUEST, Wait.HEADERS),
        (HALF_A_BODY, Wait.BODY),
        (HALF_A_CHUNK, Wait.BODY),
        (UNREAD, Wait.READING),
        (UNREAD_1_0, Wait.READING),
    ],
)
def test_a_wait_for_a_client_ends_at_its_deadline(serve: Serve, connect: Connect, text: bytes, wait: Wait) -> None:
    waits = Waits()
    limits = Limits(PATIENT | {wait: SHORT_S}, waiting=waits)
    client = connect(serve(limits, large if wait is Wait.READING else None), text)
    until("the wait", lambda: wait in waits.begun)
    until("its end", lambda: not waits)
    assert is_closed(client)


@pytest.mark.parametrize(("text", "wait"), [(HALF_A_REQUEST + b"A: ", Wait.HEADERS), (HALF_A_BODY, Wait.BODY)])
def test_further_bytes_do_not_extend_a_deadline(serve: Serve, connect: Connect, text: bytes, wait: Wait) -> None:
    port = serve(Limits(PATIENT | {wait: SHORT_S}))
    client = connect(port, text)

    def is_refused() -> bool:
        try:
            client.sendall(b"x")
        except OSError:
            return True
        return False

    until("the server closes it", is_refused)


def test_half_a_request_is_closed_at_its_deadline_also_on_a_connection_that_served_one(
    serve: Serve, connect: Connect
) -> None:
    within_s = dict(PATIENT)
    kept = connect(serve(Limits(within_s)), HALF_A_REQUEST + b"\r\n")
    assert kept.recv(12) == b"HTTP/1.1 200"
    within_s[Wait.HEADERS] = SHORT_S
    kept.sendall(HALF_A_REQUEST)
    assert is_closed(kept)


def test_a_connection_is_closed_after_a_body_that_nobody_read(serve: Serve, connect: Connect) -> None:
    port = serve(Limits(PATIENT | {Wait.NEXT: SHORT_S}))
    kept = connect(port, HALF_A_PUSH.replace(b"/api/v1/sources/a/webhook", b"/absent"))
    assert kept.recv(12) == b"HTTP/1.1 404"
    kept.sendall(b"        ")
    assert is_closed(kept)


def test_pipelined_requests_are_all_answered(serve: Serve, connect: Connect, application: FastAPI) -> None:
    within_s = dict(PATIENT)

    async def shortening(scope: Any, receive: Any, send: Any) -> None:
        within_s.update({Wait.HEADERS: SHORT_S, Wait.NEXT: SHORT_S})  # now that the requests have arrived
        await application(scope, receive, send)

    client = connect(serve(Limits(within_s), shortening), (HALF_A_REQUEST + b"\r\n") * 5 + HALF_A_REQUEST)
    received = b""
    while chunk := client.recv(4096):
        received += chunk
    assert received.count(b"HTTP/1.1 200") == 5


async def test_of_connections_that_arrive_at_once_each_closes_another() -> None:
    limits = Limits(PATIENT, connections=2)
    config = uvicorn.Config(large, http=bounded_protocol(limits), lifespan="off", log_config=None)
    config.load()
    state, transports = ServerState(), [Mock(spec=asyncio.Transport) for _ in range(6)]
    for transport in transports:
        transport.get_extra_info.return_value = None
        bounded_protocol(limits)(config=config, server_state=state, app_state={}).connection_made(transport)
    assert [transport.abort.call_count for transport in transports] == [1, 1, 1, 1, 0, 0]


def test_clients_that_send_half_a_push_do_not_fill_the_memory(
    serve: Serve, connect: Connect, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "BODY_TIMEOUT_S", 60.0)
    port = serve()
    for _ in range(MAX_BODIES):
        connect(port, HALF_A_PUSH)
    until("all of them to be received", application.state.webhook_bodies.locked)
    assert connect(port, HALF_A_PUSH).recv(12) == b"HTTP/1.1 503"
    assert status(port) == 200


def test_pushes_that_wait_for_the_database_do_not_fill_the_memory(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_up, asked = threading.Event(), threading.Semaphore(0)

    def find_webhook(*_: object) -> None:
        asked.release()
        is_up.wait(60)
        raise webhooks.HTTPException(401)

    monkeypatch.setattr(webhooks, "find_webhook", find_webhook)
    port = serve()
    clients = [connect(port, A_PUSH) for _ in range(MAX_BODIES)]
    for _ in clients:
        assert asked.acquire(timeout=60)
    assert connect(port, A_PUSH).recv(12) == b"HTTP/1.1 503"
    is_up.set()
    assert [client.recv(12) for client in clients] == [b"HTTP/1.1 401"] * MAX_BODIES
