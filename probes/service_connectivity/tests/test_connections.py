import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import SimpleNamespace

import pytest

from probes.service_connectivity import connections
from probes.service_connectivity.connections import Target, connect, connect_until

Responder = Callable[[int], tuple[int, str]]


@contextmanager
def server(respond: Responder) -> Iterator[Target]:
    """An HTTP server whose response may depend on the number of earlier ones."""
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = respond(next(numbers))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Target("Service web", "127.0.0.1", listening.server_address[1])
        finally:
            listening.shutdown()
            thread.join()


def in_turn(*names: str) -> Responder:
    return lambda number: (200, f"{names[number % len(names)]}\n")


def test_a_connection_has_the_answering_pod_and_its_time() -> None:
    with server(in_turn("a")) as target:
        result = connect(target, timeout=60)
    assert (result.answered_by, result.error) == ("a", "")
    assert 0 < result.ms < 60_000


def test_a_closed_port_and_a_time_out_are_distinguished() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert connect(Target("", "127.0.0.1", port), timeout=0.1).error == "no answer within 0.1 s"
    assert connect(Target("", "127.0.0.1", port), timeout=60).error == "connection refused"


def test_a_series_of_connections_to_the_expected_pods_succeeds() -> None:
    with server(in_turn("a", "b")) as target:
        series = connect_until(target, {"a", "b"}.__eq__, in_a_row=6, seconds=60, timeout=60)
    assert series.succeeded
    assert series.pods == {"a": 3, "b": 3}


def test_late_rules_are_awaited_and_their_delay_is_measured() -> None:
    with server(lambda number: (200, "a") if number >= 5 else (503, "")) as target:
        series = connect_until(target, {"a"}.__eq__, in_a_row=3, seconds=60, timeout=60)
    assert series.succeeded
    assert series.errors == {}
    assert series.seconds >= 5 * 0.05


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a tenth of a second each time it is read: two seconds are ten connections."""
    tenths = count()
    clock = SimpleNamespace(monotonic=lambda: next(tenths) / 10, sleep=lambda _: None, perf_counter=time.perf_counter)
    monkeypatch.setattr(connections, "time", clock)


@pytest.mark.usefixtures("slow_clock")
def test_a_missing_endpoint_is_a_fault_after_the_time_out() -> None:
    with server(in_turn("a")) as target:
        series = connect_until(target, {"a", "b"}.__eq__, in_a_row=4, seconds=2, timeout=60)
    assert not series.succeeded
    assert series.pods == {"a": 4}


@pytest.mark.usefixtures("slow_clock")
def test_a_series_with_occasional_failed_connections_does_not_succeed() -> None:
    with server(lambda number: (200, "a") if number % 3 else (500, "")) as target:
        series = connect_until(target, {"a"}.__eq__, in_a_row=6, seconds=2, timeout=60)
    assert not series.succeeded
    assert series.errors == {"status 500": 2}
