"""Connects repeatedly, each time with a new connection, and reports which pod answered.

The rules of a Service follow its endpoints with a delay, so one connection is no proof: connections are repeated
until many in a row were answered by the expected pods.
"""

import errno
import http.client
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

PAUSE = 0.05
"""Seconds after a failed connection, to avoid a busy loop while rules are pending."""
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH}


@dataclass(frozen=True)
class Connection:
    """The result of one connection."""

    answered_by: str
    """The name that answered; empty if there was no answer."""
    ms: float
    error: str = ""
    """Why there was no answer; empty if there was."""


@dataclass(frozen=True)
class Target:
    """An address and port of the pods or of a Service, with its name in errors."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.name} ({self.address}:{self.port})"


@dataclass(frozen=True)
class Series:
    """The result of a series of connections."""

    succeeded: bool
    last: tuple[Connection, ...]
    """The last connections, at most as many as must succeed in a row."""
    seconds: float
    """Seconds until the first connection of the successful series, or until the time-out."""

    @property
    def pods(self) -> Counter[str]:
        """The pods that answered the last connections, and how often."""
        return Counter(connection.answered_by for connection in self.last if connection.answered_by)

    @property
    def errors(self) -> Counter[str]:
        """How the last connections failed, and how often."""
        return Counter(connection.error for connection in self.last if connection.error)

    @property
    def median_ms(self) -> float:
        """Milliseconds of a connection that was answered; 0 if none was."""
        times = [connection.ms for connection in self.last if not connection.error]
        return round(statistics.median(times), 2) if times else 0.0


def connect(target: Target, timeout: float) -> Connection:
    """Make one request over a new connection; the pod answers with its name."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(target.address, target.port, timeout=timeout)
    answered_by, problem = "", ""
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(256).decode("utf-8", "replace").strip()
        answered_by, problem = (body, "") if response.status == 200 else ("", f"status {response.status}")
    except (OSError, http.client.HTTPException) as error:
        problem = _cause(error, timeout)
    finally:
        connection.close()
    return Connection(answered_by, (time.perf_counter() - started) * 1000, problem)


def connect_until(
    target: Target, expected: Callable[[set[str]], bool], in_a_row: int, seconds: float, timeout: float
) -> Series:
    """Connect until `in_a_row` connections were answered by an `expected` set of pods, or for `seconds`.

    `timeout` is for each connection, in seconds.
    """
    started = time.monotonic()
    last: deque[tuple[float, Connection]] = deque(maxlen=in_a_row)
    while True:
        start = time.monotonic() - started
        result = connect(target, timeout)
        last.append((start, result))
        answered = not any(one.error for _start, one in last)
        if len(last) == in_a_row and answered and expected({one.answered_by for _start, one in last}):
            return Series(True, tuple(one for _start, one in last), last[0][0])
        used = time.monotonic() - started
        if used > seconds:
            return Series(False, tuple(one for _start, one in last), used)
        if result.error:
            time.sleep(PAUSE)


def _cause(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return "no route to host"
    if isinstance(error, (ConnectionResetError, http.client.RemoteDisconnected)):
        return "connection closed without an answer"
    return str(error) or type(error).__name__
