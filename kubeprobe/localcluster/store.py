"""The objects of one cluster, their versions and recent history: the role of etcd.

Objects in the store are never changed in place: a change puts a new object. So lists, watches and
history share them, and their JSON is encoded once.
"""

import asyncio
import time
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from kubeprobe.localcluster.errors import expired
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import Resource

Key = tuple[str, str]
"""Namespace ("" for cluster-wide kinds) and name."""

_SLOW_WATCHER = 20_000
"""Pending changes after which a watcher is disconnected, so that a stuck client does not exhaust memory."""


class Stored:
    """One version of an object; its JSON is encoded at first use."""

    __slots__ = ("_raw", "object", "version")

    def __init__(self, obj: Object, version: int) -> None:
        self.object = obj
        self.version = version
        self._raw: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The object as JSON."""
        if self._raw is None:
            self._raw = orjson.dumps(self.object)
        return self._raw


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one object: ADDED, MODIFIED or DELETED."""

    type: str
    resource: Resource
    stored: Stored
    previous: Stored | None
    at: float
    """Monotonic time, in seconds."""


class Subscription:
    """The changes of one kind from now on, for one watcher."""

    def __init__(self) -> None:
        self._pending: list[Change] = []
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False

    def offer(self, change: Change) -> None:
        """Add a change; a watcher with too many pending changes is closed."""
        self._pending.append(change)
        if len(self._pending) > _SLOW_WATCHER:
            self.closed = True
        self._wake()

    def close(self) -> None:
        """End the watch after what is pending."""
        self.closed = True
        self._wake()

    async def take(self, seconds: float) -> list[Change]:
        """The changes since the last call; empty after a timeout, or when the watch is closed."""
        if not self._pending and not self.closed and seconds > 0:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        taken, self._pending = self._pending, []
        return taken

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Store:
    """Objects by kind and key, with a version that only grows and a bounded history per kind."""

    def __init__(self, *, history: int = 1000, history_seconds: float = 300) -> None:
        # No store writes ten thousand versions per second, so a restarted one starts ahead of its
        # predecessor, and old versions get 410.
        self.version = int(time.time() * 10_000)
        self._start = self.version
        self._history_limit = history
        self._history_seconds = history_seconds
        self._objects: dict[str, dict[Key, Stored]] = {}
        self._history: dict[str, deque[Change]] = {}
        self._compacted: dict[str, int] = {}
        self._subscriptions: dict[str, set[Subscription]] = defaultdict(set)
        self._listeners: list[Callable[[Change], None]] = []
        self._closed = False

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` with every change, at once; it must be quick and may write to the store later."""
        self._listeners.append(listener)

    def get(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        """One object, if it exists."""
        return self._objects.get(resource.qualified, {}).get((namespace, name))

    def items(self, resource: Resource, namespace: str = "") -> list[Stored]:
        """The objects of a kind, in all namespaces or one, in the order of their keys."""
        objects = self._objects.get(resource.qualified, {})
        keys = sorted(key for key in objects if not namespace or key[0] == namespace)
        return [objects[key] for key in keys]

    def kinds(self) -> Iterator[str]:
        """The qualified names of the kinds of which there are objects."""
        yield from [kind for kind, objects in self._objects.items() if objects]

    def count(self, resource: Resource) -> int:
        """How many objects of a kind there are."""
        return len(self._objects.get(resource.qualified, {}))

    def put(self, resource: Resource, obj: Object) -> Stored:
        """Store a new object or a new state of one; its resourceVersion is set here."""
        stored = self._next(obj)
        metadata = stored.object["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        objects = self._objects.setdefault(resource.qualified, {})
        previous = objects.get(key)
        objects[key] = stored
        self._publish(resource, "MODIFIED" if previous else "ADDED", stored, previous)
        return stored

    def remove(self, resource: Resource, obj: Object) -> Stored:
        """Remove an object; its last state gets the version of the removal."""
        metadata = obj["metadata"]
        previous = self._objects[resource.qualified].pop((metadata.get("namespace", ""), metadata["name"]))
        stored = self._next(obj)
        self._publish(resource, "DELETED", stored, previous)
        return stored

    def changes_since(self, resource: Resource, version: int) -> list[Change]:
        """The changes of a kind after this version.

        Raises `ApiError` (410) when that history was dropped.
        """
        oldest = self._compacted.get(resource.qualified, self._start)
        if version < oldest:
            raise expired(version, oldest)
        history = list(self._history.get(resource.qualified, ()))
        return history[bisect_right(history, version, key=lambda change: change.stored.version) :]

    def subscribe(self, resource: Resource) -> Subscription:
        """Start to receive the changes of a kind."""
        subscription = Subscription()
        subscription.closed = self._closed
        self._subscriptions[resource.qualified].add(subscription)
        return subscription

    def unsubscribe(self, resource: Resource, subscription: Subscription) -> None:
        """Stop receiving changes."""
        self._subscriptions[resource.qualified].discard(subscription)

    def close(self) -> None:
        """End all watches; later ones end at once."""
        self._closed = True
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()

    def forget_old(self) -> None:
        """Drop history older than `history_seconds`; a watch that needs it gets 410 and lists again."""
        for qualified in self._history:
            self._trim(qualified)

    def compact(self) -> None:
        """Drop all history now."""
        for qualified, history in self._history.items():
            history.clear()
            self._compacted[qualified] = self.version

    def _next(self, obj: Object) -> Stored:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        return Stored({**obj, "metadata": metadata}, self.version)

    def _publish(self, resource: Resource, type_: str, stored: Stored, previous: Stored | None) -> None:
        change = Change(type_, resource, stored, previous, time.monotonic())
        self._history.setdefault(resource.qualified, deque()).append(change)
        self._trim(resource.qualified)
        for subscription in self._subscriptions.get(resource.qualified, ()):
            subscription.offer(change)
        for listener in self._listeners:
            listener(change)

    def _trim(self, qualified: str) -> None:
        history = self._history[qualified]
        horizon = time.monotonic() - self._history_seconds
        while history and (len(history) > self._history_limit or history[0].at < horizon):
            self._compacted[qualified] = history.popleft().stored.version
