"""Tasks of responders: outcomes become alerts and notifications, and notifications are sent."""

from threading import Lock
from typing import Any

from celery import signals

from kubeprobe.queue import Task
from kubeprobe.response.deliver import deliver_all
from kubeprobe.response.respond import respond as respond_to_outcomes
from kubeprobe.response.routes import TargetRef
from workers.app import app

RESERVED = 4
"""Threads of a responder that never wait for a target: outcomes are processed however many targets stall."""


class Threads:
    """How many threads send at this moment, and how many may."""

    def __init__(self, limit: int = 1) -> None:
        self.limit = limit
        self._used = 0
        self._lock = Lock()

    def acquire(self) -> bool:
        """Take one, if one is left."""
        with self._lock:
            has_one = self._used < self.limit
            self._used += has_one
            return has_one

    def release(self) -> None:
        """Give it back."""
        with self._lock:
            self._used -= 1


_sending = Threads()


def sending_threads(concurrency: int) -> int:
    """How many of so many threads may send at a time: all but the reserved ones; of few, half."""
    return max(1, concurrency - RESERVED, concurrency // 2)


@signals.worker_init.connect
def _reserve_threads(sender: Any, **_: Any) -> None:
    concurrency = sender.concurrency
    _sending.limit = sending_threads(concurrency if isinstance(concurrency, int) else 1)  # `auto` is not known yet


@app.task(name=Task.RESPOND)
def respond() -> None:
    """Fold the outcomes that no responder has processed; have their notifications sent."""
    installation = app.context.installation
    app.context.dispatch(respond_to_outcomes(installation.store, installation.catalogs, installation.clock()))


@app.task(name=Task.DELIVER)
def deliver(route: str, target: str) -> None:
    """Send what waits for one target. Without a free thread nothing is sent: housekeeping wakes for it again."""
    if not _sending.acquire():
        return
    try:
        installation, to = app.context.installation, TargetRef(route, target)
        deliver_all(installation.store, installation.catalogs, to, installation.clock, app.context.dispatch)
    finally:
        _sending.release()
