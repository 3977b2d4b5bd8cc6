"""The threads of a responder that send to targets, apart from Celery's: targets that stall hold up no task."""

import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.response.claim import MAX_CONCURRENT
from kubeprobe.response.routes import TargetRef

log = structlog.get_logger(__name__)

LIMIT = 16
"""Targets that are sent to at a time, of those that respond."""
SLOW_LIMIT = 256
"""Targets that take longer than a second."""
QUEUED_S = 30.0
"""How long a target waits for a thread; then housekeeping wakes a responder for it again."""
SHUTDOWN_S = 5.0

_Key = tuple[TargetRef, int]
_Send = Callable[[TargetRef, Callable[[], object]], bool]
"""Sends to a target; the second parameter starts another thread for it. Whether it should go on."""


class Deliveries:
    """Sends to each target in up to MAX_CONCURRENT threads, which never wait for another target."""

    def __init__(self, send: _Send, loop: LoopThread) -> None:
        self._send = send
        self._loop = loop
        self._calls: BlockingCalls[bool] = BlockingCalls("delivery", limit=LIMIT, slow_limit=SLOW_LIMIT)
        self._changed = threading.Condition()
        self._active: set[_Key] = set()
        self._is_closed = False

    def start(self, to: TargetRef) -> None:
        """Send what waits for the target, unless enough threads do. Does not wait."""
        with self._changed:
            free = (number for number in range(MAX_CONCURRENT) if (to, number) not in self._active)
            number = next(free, None)
            if number is None or self._is_closed:
                return
            key = (to, number)
            self._active.add(key)
        self._loop.start(self._queue(key))

    def close(self) -> None:
        """Start no more, and wait a little for those that run: what is cut off is sent again when its lease ends."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._active, SHUTDOWN_S)

    async def _queue(self, key: _Key) -> None:
        to, is_unfinished = key[0], False
        try:
            with suppress(TimeoutError, OSError):  # no thread was free
                is_unfinished = await self._calls.run(key, lambda: self._try(to), QUEUED_S)
        finally:
            self._end(key)
        if is_unfinished:
            self.start(to)

    def _try(self, to: TargetRef) -> bool:
        try:
            return self._send(to, lambda: self.start(to))
        except Exception:
            log.exception("delivery failed", route=to.route, target=to.target)
            return False

    def _end(self, key: _Key) -> None:
        with self._changed:
            self._active.discard(key)
            self._changed.notify_all()
