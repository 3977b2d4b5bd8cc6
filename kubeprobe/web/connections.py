"""Uvicorn's HTTP/1.1, with the limits on connections that it lacks.

Uvicorn waits for ever for the rest of a request's headers, and counts idle connections as load. So a hundred clients
that send half a request would make every other one, and the liveness probe, get 503. Here headers have a deadline, and
beyond the maximum of connections the one that has waited longest for its client is closed, never one with a request.
"""

import asyncio
from dataclasses import dataclass, field

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_WITHIN_S = 10.0
"""From a connection's begin, or the first byte of its next request, to the end of the request's headers."""
MAX_CONNECTIONS = 500
"""Below the usual limit of 1,024 open files."""


@dataclass
class Limits:
    """The limits of one server, and its connections without a request, longest first."""

    headers_within_s: float = HEADERS_WITHIN_S
    connections: int = MAX_CONNECTIONS
    waiting: dict[H11Protocol, None] = field(default_factory=dict)


class BoundedProtocol(H11Protocol):
    """One connection."""

    limits: Limits
    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > self.limits.connections:
            next(iter(self.limits.waiting)).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._end_wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:
            self.limits.waiting[self] = None  # without a deadline: uvicorn's for idle connections runs

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_wait()

    def _wait(self) -> None:
        self.limits.waiting.setdefault(self)
        if self.deadline is None:
            self.deadline = self.loop.call_later(self.limits.headers_within_s, self.transport.abort)

    def _end_wait(self) -> None:
        self.limits.waiting.pop(self, None)
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def bounded_protocol(limits: Limits | None = None) -> type[BoundedProtocol]:
    """The protocol of one server: `uvicorn.run(http=...)`."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits or Limits()})
