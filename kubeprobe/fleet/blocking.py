"""Blocking calls (files, name resolution, programs) for event loops: bounded, and apart from asyncio's own executor.

asyncio's executor commits outcomes and renews leases, so nothing that depends on a cluster may run there. One call per
key runs at a time, and its result goes to everyone who waits for it. Threads are daemons: a call that never returns
does not hold up the end of the process.
"""

import asyncio
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from kubeprobe.fleet.errors import LocalResourceError, QueueTimeoutError

T = TypeVar("T")
_MOST_SLOW = 10_000
"""Keys of slow calls that are remembered."""


@dataclass(eq=False)
class _Call:
    """A call that is queued or running."""

    key: Hashable
    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    waiting: int = 0
    is_slow: bool = False
    """Whose share of threads it takes."""
    started: float | None = None
    """By `time.monotonic`; None in the queue."""


class BlockingCalls(Generic[T]):
    """Threads for calls of one kind, shared by all event loops of a process.

    At most `limit` calls run at a time. A call that takes longer than `slow_after_s`, and later calls with its key,
    have a share of their own, `slow_limit` threads: what does not respond takes no thread from what does.
    """

    def __init__(self, name: str, limit: int, slow_limit: int, slow_after_s: float = 1.0) -> None:
        self._name = name
        self._slow_after_s = slow_after_s
        self._limits = {False: limit, True: slow_limit}
        self._lock = threading.Lock()
        self._calls: dict[Hashable, _Call] = {}
        self._queues: dict[bool, deque[_Call]] = {False: deque(), True: deque()}
        self._running = {False: 0, True: 0}
        self._fast: set[_Call] = set()
        """Those that run and are not slow."""
        self._slow: set[Hashable] = set()

    async def run(self, key: Hashable, work: Callable[[], T], limit_s: float) -> T:
        """The result of `work`, or of the call with the same key that runs already.

        The time limit includes the time in the queue. Raises TimeoutError: the call itself goes on. QueueTimeoutError:
        it has not begun. LocalResourceError: the system has no more threads.
        """
        call = self._join(key, work)
        try:
            async with asyncio.timeout(limit_s):
                ended = _when_ended(call.future)
                while not (await asyncio.wait((ended,), timeout=self._slow_after_s))[0]:
                    self._move_slow()
        except TimeoutError:
            if call.started is None:
                message = f"all threads for {self._name} were busy for {limit_s:g} s"
                raise QueueTimeoutError(errno.EAGAIN, message) from None
            raise
        finally:
            self._leave(call)
        return cast("T", call.future.result())

    @property
    def running(self) -> int:
        """How many calls run now."""
        with self._lock:
            return sum(self._running.values())

    def _join(self, key: Hashable, work: Callable[[], T]) -> _Call:
        with self._lock:
            call = self._calls.get(key)
            if call is None:
                call = self._calls[key] = _Call(key, work, is_slow=key in self._slow)
                self._queues[call.is_slow].append(call)
                self._start()
            call.waiting += 1
            return call

    def _leave(self, call: _Call) -> None:
        with self._lock:
            call.waiting -= 1
            if not call.waiting and call.started is None and self._calls.get(call.key) is call:
                self._queues[call.is_slow].remove(call)  # nobody needs it any more
                del self._calls[call.key]

    def _move_slow(self) -> None:
        """Calls that have run for too long move to the share of slow ones, as far as its limit allows."""
        now = time.monotonic()
        with self._lock:
            for call in tuple(self._fast):
                assert call.started is not None
                if now < call.started + self._slow_after_s:
                    continue
                if len(self._slow) >= _MOST_SLOW:
                    self._slow.clear()
                self._slow.add(call.key)
                if self._running[True] < self._limits[True]:
                    call.is_slow = True
                    self._fast.discard(call)
                    self._running[False] -= 1
                    self._running[True] += 1
            self._start()

    def _start(self) -> None:
        """Start what is queued, as far as the limits allow. The lock is held."""
        for is_slow, queue in self._queues.items():
            while queue and self._running[is_slow] < self._limits[is_slow]:
                call = queue.popleft()
                call.started = time.monotonic()
                if not is_slow:
                    self._fast.add(call)
                self._running[is_slow] += 1
                try:
                    threading.Thread(target=self._work, args=(call,), name=self._name, daemon=True).start()
                except RuntimeError as error:  # the system has no more threads
                    self._end(call)
                    call.future.set_exception(LocalResourceError(errno.EAGAIN, str(error)))

    def _work(self, call: _Call) -> None:
        result, failure = None, None
        try:
            result = call.work()
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
            failure = error
        with self._lock:
            if call.started is not None and time.monotonic() < call.started + self._slow_after_s:
                self._slow.discard(call.key)
            self._end(call)
            self._start()
        if failure is not None:
            call.future.set_exception(failure)
        else:
            call.future.set_result(result)

    def _end(self, call: _Call) -> None:
        self._fast.discard(call)
        self._running[call.is_slow] -= 1
        del self._calls[call.key]


def _when_ended(future: Future[Any]) -> asyncio.Future[None]:
    """Done at the end of a call, however it ends. Not `asyncio.wrap_future`: that cancels it, and logs its errors."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if waiter.done() else waiter.set_result(None))

    future.add_done_callback(wake)
    return waiter
