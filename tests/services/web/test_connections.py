"""Clients that never finish a request cost others nothing."""

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import uvicorn

from kubeprobe.app import Installation
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from kubeprobe.web import make_app
from kubeprobe.web.connections import MAX_CONNECTIONS, Limits, bounded_protocol
from kubeprobe.web.webhooks import MAX_BODIES
from tests.harness.ports import free_port
from tests.harness.wait import until

HALF_A_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: kubeprobe\r\n"
HALF_A_BODY = b"POST /api/v1/sources/a/webhook HTTP/1.1\r\nHost: kubeprobe\r\nContent-Length: 9\r\n\r\n{"
Serve = Callable[..., int]


@pytest.fixture
def serve(store: Store) -> Iterator[Serve]:
    """Starts the web with a protocol; gives its port."""
    installation = Installation(Settings(), store, Queue.connect("redis://127.0.0.1:1/0"))
    with ExitStack() as stack:

        def start(headers_within_s: float = 60) -> int:
            port = free_port()
            protocol = bounded_protocol(Limits(headers_within_s))
            config = uvicorn.Config(
                make_app(installation), port=port, log_config=None, lifespan="off", http=protocol, timeout_keep_alive=60
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
def connect() -> Iterator[Callable[[int, bytes], socket.socket]]:
    with ExitStack() as stack:

        def begin(port: int, text: bytes) -> socket.socket:
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            opened.sendall(text)
            return opened

        yield begin


def status(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
        return int(answer.status)


def test_healthz_answers_whatever_number_of_clients_send_half_a_request(serve: Serve, connect: Callable) -> None:
    port = serve()
    first = connect(port, HALF_A_REQUEST)
    for _ in range(MAX_CONNECTIONS):
        connect(port, HALF_A_REQUEST)
    assert status(port) == 200
    assert is_closed(first), "the one that waited longest makes room"


def test_half_a_request_is_closed_at_its_deadline_also_on_a_connection_that_served_one(
    serve: Serve, connect: Callable
) -> None:
    port = serve(headers_within_s=0.3)
    assert is_closed(connect(port, HALF_A_REQUEST))
    kept = connect(port, HALF_A_REQUEST + b"\r\n")
    assert kept.recv(12) == b"HTTP/1.1 200"
    kept.sendall(HALF_A_REQUEST)
    assert is_closed(kept)


def test_clients_that_send_half_a_push_do_not_fill_the_memory(serve: Serve, connect: Callable) -> None:
    port = serve()
    for _ in range(MAX_BODIES):
        connect(port, HALF_A_BODY)
    assert connect(port, HALF_A_BODY).recv(12) == b"HTTP/1.1 503"
    assert status(port) == 200


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes it; fails after the socket's time-out."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True
