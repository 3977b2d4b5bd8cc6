"""Sends requests to the canary continuously, as its users do, and counts lost ones."""

import http.client
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

PAUSE = 0.05
"""Seconds between two requests of the loop."""


class NoAnswer(Exception):  # noqa: N818
    """A request without a valid answer; the text is the cause."""


def request_version(host: str, port: int, seconds: float) -> str:
    """Send a request over a new connection; returns the version that answers. Raises NoAnswer."""
    connection = http.client.HTTPConnection(host, port, timeout=max(seconds, 0.1))
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read(100).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error
    finally:
        connection.close()
    if response.status != 200:
        raise NoAnswer(f"status {response.status}: {body}")
    return body


class Traffic:
    """Sends requests one after the other, in a thread. A context manager."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._target = host, port, timeout
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send_requests, name="traffic", daemon=True)
        self.answers: Counter[str] = Counter()
        """The number of answers by version."""
        self.lost: list[str] = []
        """Cause and time of each lost request."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(self._target[2] + 1)

    @property
    def sent(self) -> int:
        """The number of finished requests, answered or lost."""
        return self.answers.total() + len(self.lost)

    def loss(self, during: str) -> str:
        """`3 of 240 requests lost during the update: ...`; empty if none was."""
        if not self.lost:
            return ""
        kinds = "; ".join(f"{count} x {why}" for why, count in Counter(self.lost).most_common(3))
        return f"{len(self.lost)} of {self.sent} requests lost during the {during}: {kinds}"

    def _send_requests(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers[request_version(*self._target)] += 1
            except NoAnswer as error:
                self.lost.append(str(error))
            self._stopped.wait(PAUSE)


def request_until(version: str, host: str, port: int, timeout: float, within: float) -> str:
    """Send requests until `version` has answered ten times in a row: empty then, else what answered instead."""
    deadline, in_a_row, instead = time.monotonic() + within, 0, ""
    while in_a_row < 10:
        try:
            answer = request_version(host, port, min(timeout, max(deadline - time.monotonic(), 0.5)))
            in_a_row = in_a_row + 1 if answer == version else 0
            instead = instead if answer == version else f"version {answer!r} answers"
        except NoAnswer as error:
            in_a_row, instead = 0, f"no answer: {error}"
        if time.monotonic() > deadline and in_a_row < 10:
            return instead or f"only {in_a_row} right answers in a row"
        if not in_a_row:
            time.sleep(PAUSE)
    return ""
