"""A message that a worker has received: it expires by the store's clock, as the sender's machine may have another."""

from typing import Any

from celery import Task
from celery.worker.request import Request as CeleryRequest
from celery.worker.state import revoked as revoked_tasks


class Request(CeleryRequest):  # type: ignore[misc]
    """Of the workers' app."""

    def maybe_expire(self) -> bool:
        """Whether the message has expired; Celery then ignores it."""
        has_expired = bool(self.expires) and self.app.now() > self.expires
        if has_expired:
            revoked_tasks.add(self.id)
        return has_expired


class StoreTimeTask(Task):  # type: ignore[misc]
    """A task whose messages are received as `Request`."""

    abstract = True
    Request: Any = Request
