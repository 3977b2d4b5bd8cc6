"""List and watch one resource of a cluster, as client-go's Reflector does, for as long as it is needed.

List, then watch from the list's resource version. When the server ends a watch, watch on from the last version that
was seen (bookmarks move it). When that version is too old (410 Gone), or the list or the watch failed, pause and list
again. A watch that is silent for too long has failed. Callers: `execution.collect` (pods and nodes of a cluster),
`fleet.check_pod` and `authoring.trial` (one pod).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kubeprobe import metrics
from kubeprobe.backoff import Backoff
from kubeprobe.fleet.api import ClusterApi, object_problem
from kubeprobe.fleet.errors import Cause, ClusterError, cluster_error

BACKOFF = Backoff(first=timedelta(seconds=0.5), longest=timedelta(seconds=15), jitter=0.5)
SHORTEST_WATCH_S = 1.0
"""A watch that ends sooner counts as failed: a proxy that ends watches at once must not cause a request each time."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """The list is about to be requested: what is read now is older than it."""


@dataclass(frozen=True)
class Listed:
    """All objects that there are. What was seen before and is not among them has been deleted."""

    objects: list[Object]


@dataclass(frozen=True)
class Changed:
    """An object was added or modified."""

    object: Object


@dataclass(frozen=True)
class Deleted:
    """An object was deleted; this is its last state."""

    object: Object


@dataclass(frozen=True)
class Malformed:
    """The API server sent something that is not an object with a name, a UID and a version: it is left out."""

    problem: str


@dataclass(frozen=True)
class ListFailed:
    """The list failed; it is requested again after a pause."""

    error: ClusterError


@dataclass(frozen=True)
class WatchFailed:
    """The watch failed, or its version was too old (Gone); a list follows after a pause."""

    error: ClusterError


Event = Listing | Listed | Changed | Deleted | Malformed | ListFailed | WatchFailed


class Reflector:
    """Follows the objects of one resource path that match a label selector.

    `connect` gives the cluster's API; called before each list, as the connection may have changed. `version`: watch
    from this resource version first instead of listing. `measured_as`: the kind by which metrics count its watches;
    empty: they don't.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[ClusterApi]],
        path: str,
        selector: str = "",
        *,
        version: str | None = None,
        backoff: Backoff = BACKOFF,
        measured_as: str = "",
    ) -> None:
        self._connect = connect
        self._path = path
        self._selector = selector
        self._first_version = version
        self._backoff = backoff
        self._failures = 0
        """Since the last watch that lasted."""
        self._list_requested = False
        self._measured_as = measured_as
        self._version = ""
        """The last one that was seen."""

    def request_list(self) -> None:
        """List again as soon as the current watch ends."""
        self._list_requested = True

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events without end. Use `contextlib.aclosing`: closing it closes the watch.

        A consumer that failed to handle an event calls `events` again: that pauses as after any failure, then lists.
        """
        try:
            while True:
                await self._pause()
                api = await self._connect()
                version, self._first_version = self._first_version, None
                if version is None:
                    yield Listing()
                    self._list_requested = False
                    try:
                        objects, version = await self._list(api)
                    except ClusterError as error:
                        self._fail(error)
                        yield ListFailed(error)
                        continue
                    yield Listed([found for found in objects if object_problem(found) is None])
                    for problem in filter(None, map(object_problem, objects)):  # a list replaces earlier problems
                        yield Malformed(problem)
                    del objects  # not kept in memory while the watch lasts
                async with aclosing(self._watch(api, version)) as changes:
                    async for change in changes:
                        yield change
        except BaseException:  # of the consumer (GeneratorExit), or an unexpected one of the API
            self._failures += 1
            raise

    async def _list(self, api: ClusterApi) -> tuple[list[Object], str]:
        objects, version = await api.list_objects(self._path, self._selector)
        if not version:
            raise cluster_error(Cause.SERVER_ERROR, f"{self._path}: the list has no version to watch from")
        return objects, version

    async def _watch(self, api: ClusterApi, version: str) -> AsyncGenerator[Event, None]:
        """Watch after watch until one fails or a list is requested."""
        loop, self._version = asyncio.get_running_loop(), version
        while not self._list_requested:
            began, failure = loop.time(), None
            try:
                async with aclosing(self._watch_once(api)) as changes:
                    async for change in changes:
                        yield change
            except ClusterError as error:
                failure = error
            lasted = loop.time() - began >= SHORTEST_WATCH_S
            if lasted:
                self._failures = 0
            if failure is not None:
                self._fail(failure)
                yield WatchFailed(failure)
                return
            if not lasted:
                self._failures += 1
                await self._pause()

    async def _watch_once(self, api: ClusterApi) -> AsyncGenerator[Event, None]:
        """The changes since `_version`, until the server ends the watch. Raises ClusterError."""
        async with AsyncExitStack() as stack:
            watch = api.watch_objects(self._path, self._selector, self._version)
            changes = await stack.enter_async_context(aclosing(watch))
            if self._measured_as:
                await stack.enter_async_context(metrics.watching(self._measured_as))
            async for kind, found in changes:
                if problem := None if kind == "BOOKMARK" else object_problem(found):
                    yield Malformed(problem)
                    continue
                self._version = found["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    yield Deleted(found) if kind == "DELETED" else Changed(found)

    def _fail(self, error: ClusterError) -> None:
        self._failures += 1
        if self._measured_as:
            metrics.record_watch_failure(self._measured_as, error.cause)

    async def _pause(self) -> None:
        if self._failures:
            await asyncio.sleep(self._backoff.pause(self._failures).total_seconds())


async def follow_object(
    api: ClusterApi, path: str, selector: str, created: Object, retried: Collection[Cause] = ()
) -> AsyncGenerator[tuple[Object, bool], None]:
    """The states of one object after that in `created`: (object, whether it was deleted); ends when it was deleted.

    `path` and `selector` list the object, perhaps among others. Raises ClusterError for causes other than Gone and
    those that are `retried`. Use `contextlib.aclosing`.
    """
    last, uid = created, created["metadata"]["uid"]

    async def connect() -> ClusterApi:
        return api

    reflector = Reflector(connect, path, selector, version=created["metadata"]["resourceVersion"])
    async with aclosing(reflector.events()) as events:
        async for event in events:
            deleted = False
            match event:
                case Listed(objects):
                    remaining = [each for each in objects if each["metadata"]["uid"] == uid]
                    last, deleted = (remaining or [last])[0], not remaining
                case Changed(found) | Deleted(found) if found["metadata"]["uid"] == uid:
                    last, deleted = found, isinstance(event, Deleted)
                case ListFailed(error) | WatchFailed(error) if error.cause is not Cause.GONE:
                    if error.cause not in retried:
                        raise error
                    continue
                case _:
                    continue
            yield last, deleted
            if deleted:
                return
