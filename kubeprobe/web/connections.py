"""Uvicorn's HTTP/1.1, with the limits on connections that it lacks.

Uvicorn waits for ever for the rest of a request, and for a client to read a response. So some hundred clients that do
neither would make every other one, and the liveness probe, wait or fail. Here each wait for a client has a deadline,
which further bytes do not extend, and beyond the maximum of connections the one that has waited longest for its client
is closed: never one whose response is being made.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500
"""Below the usual limit of 1,024 open files."""
BACKLOG = 256
"""Connections that are accepted before any of them is handled: with those above, still below that limit."""


class Wait(StrEnum):
    """What a connection waits for, if it waits for its client."""

    HEADERS = "headers"
    BODY = "body"
    READING = "reading"
    """For the client to read a response."""
    NEXT = "next"
    """For the next request. Uvicorn limits it too, but not after a body that was not read."""


WITHIN_S: Mapping[Wait, float] = {Wait.HEADERS: 10.0, Wait.BODY: 15.0, Wait.READING: 30.0, Wait.NEXT: 30.0}
"""From the begin of a wait, not from the last byte. A push's body has less (`webhooks.BODY_TIMEOUT_S`)."""


@dataclass
class Limits:
    """The limits of one server, and its connections that wait for their clients, longest first."""

    within_s: Mapping[Wait, float] = field(default_factory=lambda: WITHIN_S)
    connections: int = MAX_CONNECTIONS
    waiting: dict[H11Protocol, None] = field(default_factory=dict)


class BoundedProtocol(H11Protocol):
    """One connection."""

    limits: Limits
    wait: Wait | None = None
    deadline: asyncio.TimerHandle | None = None
    is_write_paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_wait(Wait.HEADERS)
        if len(self.connections) > self.limits.connections:
            longest = next(iter(self.limits.waiting))
            self.limits.waiting.pop(longest)  # before it is lost, the next connection may be made
            longest.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvicorn would answer it
            super().data_received(data)
        self._update_wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_wait()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._update_wait()

    def shutdown(self) -> None:
        super().shutdown()
        self._update_wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_write_paused = True
        self._update_wait()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_write_paused = False
        self._update_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._set_wait(None)

    def _update_wait(self) -> None:
        if self.transport.is_closing() or self.is_write_paused:
            self._set_wait(Wait.READING)
        elif self.conn.their_state is h11.SEND_BODY:
            self._set_wait(Wait.BODY)
        elif self.conn.their_state is h11.IDLE:
            has_begun = self.cycle is None or bool(self.conn.trailing_data[0])
            self._set_wait(Wait.HEADERS if has_begun else Wait.NEXT)
        else:
            self._set_wait(None)

    def _set_wait(self, wait: Wait | None) -> None:
        if wait is self.wait:
            return
        self.wait = wait
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self.limits.waiting.pop(self, None)
        if wait is not None:
            self.limits.waiting[self] = None
            self.deadline = self.loop.call_later(self.limits.within_s[wait], self.transport.abort)


def bounded_protocol(limits: Limits | None = None) -> type[BoundedProtocol]:
    """The protocol of one server: `uvicorn.run(http=...)`."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits or Limits()})
