"""A web server on loopback that records requests and gives the configured responses."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

START_S = 60


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`answers` are used in turn, the last one repeatedly; None does not respond until the end.

    A text of None: the status and headers are sent, and the body never comes.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[tuple[int, str | None] | None] = field(default_factory=lambda: [(200, "ok")])
    headers: dict[str, str] = field(default_factory=lambda: {"Location": "/elsewhere"})
    """Of every response that has a text."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record the request."""
        self.received.append(Received(request.path_qs, dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.sleep(3600)  # cancelled when the server ends
            raise AssertionError
        status, text = answer
        if text is None:
            assert request.transport is not None
            # At once: the start of a body is waited for no longer than a second.
            request.transport.write(b"HTTP/1.1 %d As given\r\nContent-Length: 1000\r\n\r\nbegins and " % status)
            await asyncio.sleep(3600)
            raise AssertionError
        return web.Response(status=status, text=text, headers=self.headers)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens while the block runs."""
    receiver, ready = Receiver(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", receiver.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address: Any = runner.addresses[0]
        receiver.url = f"http://127.0.0.1:{address[1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(START_S), f"waited {START_S} s in vain for the receiver to listen"
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(START_S)
        loop.close()
