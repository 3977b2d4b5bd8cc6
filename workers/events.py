"""Events for monitors such as Flower, published without retries.

Celery retries a worker's heartbeat in the loop that also takes messages and signals: while the broker is frozen, a
worker would not end when it gets SIGTERM. The next heartbeat follows two seconds later anyway.
"""

from collections import deque
from typing import Any

from celery.app.events import Events as CeleryEvents
from celery.events.dispatcher import EventDispatcher as CeleryEventDispatcher


class EventDispatcher(CeleryEventDispatcher):  # type: ignore[misc]
    """Publishes each event once, and drops it if that fails."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._outbound_buffer: deque[Any] = deque(maxlen=0)

    def send(self, *args: Any, **fields: Any) -> Any:
        """As Celery's; `retry` has no effect."""
        return super().send(*args, **(fields | {"retry": False}))


class Events(CeleryEvents):  # type: ignore[misc]
    """Of the workers' app."""

    dispatcher_cls = "workers.events:EventDispatcher"
