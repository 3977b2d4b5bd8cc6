"""Connects repeatedly, each time with a new connection, and reports which pod answered.

The rules of a Service follow its endpoints with a delay. So one connection proves nothing: connections are
repeated until many in a row were right.
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
class Said:
    """The result of one connection."""

    who: str
    """The name that answered; empty if there was no answer."""
    ms: float
    trouble: str = ""


@dataclass(frozen=True)
class Way:
    """A path to the pods: an address and port, and its name in errors."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.name} ({self.address}:{self.port})"


@dataclass(frozen=True)
class Settled:
    """The result of a series of connections."""

    well: bool
    last: tuple[Said, ...]
    """The last connections, at most as many as must succeed in a row."""
    seconds: float
    """Seconds until the first connection of the successful series, or until the time-out."""

    @property
    def seen(self) -> Counter[str]:
        """The pods that answered the last connections, and how often."""
        return Counter(said.who for said in self.last if said.who)

    @property
    def troubles(self) -> Counter[str]:
        """How the last connections failed, and how often."""
        return Counter(said.trouble for said in self.last if said.trouble)

    @property
    def median_ms(self) -> float:
        """Milliseconds of a connection that was answered; 0 if none was."""
        times = [said.ms for said in self.last if not said.trouble]
        return round(statistics.median(times), 2) if times else 0.0


def connect(way: Way, timeout: float) -> Said:
    """Make one request over a new connection; the pod answers with its name."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(way.address, way.port, timeout=timeout)
    who, trouble = "", ""
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(256).decode("utf-8", "replace").strip()
        who, trouble = (body, "") if response.status == 200 else ("", f"status {response.status}")
    except (OSError, http.client.HTTPException) as error:
        trouble = _why(error, timeout)
    finally:
        connection.close()
    return Said(who, (time.perf_counter() - started) * 1000, trouble)


def settle(way: Way, right: Callable[[set[str]], bool], in_a_row: int, seconds: float, timeout: float) -> Settled:
    """Connect until `in_a_row` connections were answered, by a set of names that is `right`."""
    started = time.monotonic()
    last: deque[tuple[float, Said]] = deque(maxlen=in_a_row)
    while True:
        begun = time.monotonic() - started
        said = connect(way, timeout)
        last.append((begun, said))
        answered = not any(one.trouble for _begun, one in last)
        if len(last) == in_a_row and answered and right({one.who for _begun, one in last}):
            return Settled(True, tuple(one for _begun, one in last), last[0][0])
        used = time.monotonic() - started
        if used > seconds:
            return Settled(False, tuple(one for _begun, one in last), used)
        if said.trouble:
            time.sleep(PAUSE)


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return "no route to it"
    if isinstance(error, (ConnectionResetError, http.client.RemoteDisconnected)):
        return "connection closed without an answer"
    return str(error) or type(error).__name__
