"""The connections of Apprise's services: the status of a response decides, and every call ends within a time limit.

Apprise's plugins call `requests.post`, which reads the whole body before it returns: a service that accepted a message
and then stalled would be reported as failed, and get it again. `requests` creates an adapter for each of its sessions;
the one here stops reading a body at a limit of time and of size, and returns what it has read.

Connections, also those of plugins without HTTP (mail, IRC, APRS), are shut down at the end of `time_limit`: the
time-out of a socket is for one read, and a service may send a byte for each.
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from kubeprobe.fleet.errors import LocalResourceError

BODY_S = 5.0
MAX_BODY = 1 << 20
"""Bytes: more than any service answers."""
_CHUNK = 1 << 14


class _Limit:
    """Duplicates of the connections that a thread has opened within a `time_limit`: TLS takes over the originals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_over = False

    def add(self, opened: socket.socket) -> None:
        """Shut it down at the limit; at once, if that has passed."""
        with self._lock:
            self._sockets.append(duplicate := socket.socket(fileno=os.dup(opened.fileno())))
            if self.is_over:
                _shut_down(duplicate)

    def end(self) -> None:
        """Shut down all of them: whatever waits for one gets an error."""
        with self._lock:
            self.is_over = True
            for opened in self._sockets:
                _shut_down(opened)

    def close(self) -> None:
        """Close the duplicates."""
        with self._lock:
            for opened in self._sockets:
                opened.close()
            self._sockets.clear()


_limits = threading.local()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """After so many seconds the connections of this thread in the block fail, and so do further ones.

    Raises LocalResourceError: the system has no more threads.
    """
    limit = _Limit()
    timer = threading.Timer(seconds, limit.end)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as error:
        raise LocalResourceError(errno.EAGAIN, str(error)) from error
    _limits.current = limit
    try:
        yield
    finally:
        timer.cancel()
        _limits.current = None
        limit.close()


class BoundedBodyAdapter(HTTPAdapter):
    """Reads of a response's body what arrives within these limits."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As HTTPAdapter does; the response's `content` never raises."""
        response = super().send(*args, **kwargs)
        response._content = _start(response.raw)  # noqa: SLF001 -- `requests` has no public way to hand it a body
        response._content_consumed = True  # noqa: SLF001
        response.raw.close()
        return response


def bound_requests() -> None:
    """Have every session of `requests` in this process use it, and every socket respect `time_limit`."""
    vars(requests.sessions)["HTTPAdapter"] = BoundedBodyAdapter
    socket.socket.connect = _connect  # type: ignore[assignment, method-assign]  # the one call that all plugins share


_connect_unlimited = socket.socket.connect


def _connect(self: socket.socket, address: Any, /) -> None:
    limit: _Limit | None = getattr(_limits, "current", None)
    if limit is not None and limit.is_over:  # a name may have many addresses, each with its own time-out
        raise TimeoutError("the time limit of the message is over")
    _connect_unlimited(self, address)
    if limit is not None:
        limit.add(self)


def _shut_down(opened: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        opened.shutdown(socket.SHUT_RDWR)


def _start(raw: Any) -> bytes:
    body, until = b"", time.monotonic() + BODY_S
    try:
        while len(body) < MAX_BODY and time.monotonic() < until:
            if not (chunk := raw.read1(_CHUNK, decode_content=True)):
                break
            body += chunk
    except (HTTPError, OSError, ValueError):
        pass  # what came until then is all there is
    return body
