import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from probes.canary_deployment import traffic
from probes.canary_deployment.server import PORT
from probes.canary_deployment.traffic import NoAnswer, Traffic, request_until, request_version
from tests.harness.wait import until

HOST = "127.0.0.1"


@contextmanager
def canary(version: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real server of the pods."""
    env = {**os.environ, "CANARY_VERSION": version}
    with subprocess.Popen([sys.executable, "-m", "probes.canary_deployment.server"], env=env) as process:
        try:
            until("the canary to answer", lambda: answers(version))
            yield process
        finally:
            process.terminate()
            process.wait(60)


def answers(version: str) -> bool:
    try:
        return request_version(HOST, PORT, 1) == version
    except NoAnswer:
        return False


def test_traffic_counts_the_versions_that_the_canary_returns() -> None:
    with canary("v1"):
        assert request_until("v1", HOST, PORT, 60, 60) == ""
        with Traffic(HOST, PORT, 60) as sender:
            until("ten answers", lambda: sender.sent >= 10)
    assert set(sender.answers) == {"v1"}
    assert sender.loss("update") == ""


def test_a_missing_version_is_reported_with_what_answered_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is up after the first answer, however long that takes."""
    times = iter((0.0, 0.0, 61.0))
    with canary("v1"):
        monkeypatch.setattr(traffic, "time", SimpleNamespace(monotonic=lambda: next(times)))
        assert request_until("v2", HOST, PORT, 60, 60) == "version 'v1' answers"


def test_lost_requests_are_counted_with_their_reasons() -> None:
    with Traffic(HOST, PORT, 1) as sender:
        until("three requests", lambda: sender.sent >= 3)
    problem = sender.loss("update")
    assert problem.startswith(f"{sender.sent} of {sender.sent} requests lost during the update: ")
    assert "Connection refused" in problem


def test_an_open_request_is_finished_when_the_canary_is_terminated() -> None:
    with canary("v1") as process, socket.create_connection((HOST, PORT), 5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n")
        responses: list[bytes] = []
        reader = threading.Thread(target=lambda: responses.append(client.makefile("rb").read()))
        reader.start()
        until("an answer", lambda: answers("v1"))  # earlier connections have been accepted by now
        process.send_signal(signal.SIGTERM)
        until("the canary to refuse new connections", lambda: not answers("v1"))
        client.sendall(b"\r\n")
        reader.join(60)
        assert process.wait(60) == 0
    assert [answer.endswith(b"v1") for answer in responses] == [True]


def test_the_wait_without_endpoints_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(traffic, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    with pytest.raises(NoAnswer, match="refused"):
        request_version(HOST, PORT, 1)
    assert "refused" in request_until("v1", HOST, PORT, 1, 0.2)
    assert 0.2 < sum(slept) <= 0.2 + 2 * traffic.PAUSE
