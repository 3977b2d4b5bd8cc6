"""Watches: the changes of a kind since a version as a stream of JSON lines, filtered by the watcher's selector."""

import time
from collections.abc import AsyncIterator, Iterator

import orjson

from kubeprobe.localcluster.errors import ApiError
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.registry import Target
from kubeprobe.localcluster.requests import ListOptions
from kubeprobe.localcluster.resources import Resource
from kubeprobe.localcluster.store import Change, Store, Stored, Subscription
from kubeprobe.localcluster.tables import as_table

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def parse_version(text: str) -> int:
    """A resourceVersion as a number. Raises `ApiError` (500)."""
    if not text.isdigit():
        # As on the real server: 500, without a reason.
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, "", message)
    return int(text)


async def watch_lines(
    store: Store, target: Target, options: ListOptions, bookmark_seconds: float
) -> AsyncIterator[list[bytes]]:
    """The lines of a watch, in batches, until its timeout or until the store closes.

    The first batch (it may be empty) comes at once, so that the response headers can be sent.
    """
    subscription = store.subscribe(target.resource)
    try:
        try:
            first = _first_lines(store, target, options)
        except ApiError as error:
            yield [_line("ERROR", orjson.dumps(error.status()))]
            return
        yield first
        async for lines in _following(store, target, options, subscription, bookmark_seconds):
            yield lines
    finally:
        store.unsubscribe(target.resource, subscription)


def _first_lines(store: Store, target: Target, options: ListOptions) -> list[bytes]:
    """The state at the start of the watch, or the changes since a version."""
    if options.resource_version in ("", "0") or options.initial_events:
        stored = store.items(target.resource, target.namespace)
        chosen = [s for s in stored if _is_wanted(s.object, target, options)]
        lines = [_line("ADDED", _shown(s, target, options)) for s in chosen]
        if options.initial_events and options.bookmarks:
            lines.append(_bookmark(target.resource, store.version, {_INITIAL_EVENTS_END: "true"}))
        return lines
    changes = store.changes_since(target.resource, parse_version(options.resource_version))
    return list(_lines(changes, target, options))


async def _following(
    store: Store, target: Target, options: ListOptions, subscription: Subscription, bookmark_seconds: float
) -> AsyncIterator[list[bytes]]:
    end = time.monotonic() + options.timeout_seconds
    next_bookmark = time.monotonic() + bookmark_seconds
    while not subscription.closed and (left := end - time.monotonic()) > 0:
        wait = min(left, next_bookmark - time.monotonic()) if options.bookmarks else left
        lines = list(_lines(await subscription.take(wait), target, options))
        if options.bookmarks and time.monotonic() >= next_bookmark:
            next_bookmark = time.monotonic() + bookmark_seconds
            lines.append(_bookmark(target.resource, store.version))
        if lines:
            yield lines
    if options.bookmarks and not subscription.closed:
        yield [_bookmark(target.resource, store.version)]


def _lines(changes: list[Change], target: Target, options: ListOptions) -> Iterator[bytes]:
    for change in changes:
        if target.namespace and change.stored.object["metadata"].get("namespace") != target.namespace:
            continue
        if type_ := _type_seen(change, target, options):
            yield _line(type_, _shown(change.stored, target, options))


def _type_seen(change: Change, target: Target, options: ListOptions) -> str | None:
    """The event type for this watcher: a changed object may start or stop matching its selector."""
    now = change.type != "DELETED" and _is_wanted(change.stored.object, target, options)
    before = change.previous is not None and _is_wanted(change.previous.object, target, options)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


def _is_wanted(obj: Object, target: Target, options: ListOptions) -> bool:
    if target.name and obj["metadata"]["name"] != target.name:
        return False
    return options.selects is None or options.selects(obj)


def _shown(stored: Stored, target: Target, options: ListOptions) -> bytes:
    if not options.table:
        return stored.raw
    return orjson.dumps(as_table(target.resource, [stored], {"resourceVersion": str(stored.version)}))


def _line(type_: str, raw: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), raw)


def _bookmark(resource: Resource, version: int, annotations: Object | None = None) -> bytes:
    metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return _line("BOOKMARK", Stored(obj, version).raw)
