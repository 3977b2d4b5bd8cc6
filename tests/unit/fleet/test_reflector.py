"""List, watch, resume, relist and back off; kmock plays the cluster."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import kmock as km
import orjson
import pytest

from kubeprobe.backoff import Backoff
from kubeprobe.fleet import reflector
from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.reflector import (
    Changed,
    Deleted,
    Event,
    Listed,
    ListFailed,
    Listing,
    Malformed,
    Reflector,
    WatchFailed,
    follow_object,
)

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

Mock = km.RawHandler
PODS = pods_path("ns")
EXPIRED = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
FORBIDDEN = {
    "kind": "Status",
    "code": 403,
    "reason": "Forbidden",
    "message": 'User "u" cannot watch resource "pods" in API group "" in the namespace "ns"',
}
UNAVAILABLE = {"kind": "Status", "code": 503, "reason": "ServiceUnavailable", "message": "shutting down"}


@dataclass(frozen=True)
class RecordingBackoff(Backoff):
    """Pauses of a millisecond; `counts` records the numbers of failures."""

    first: timedelta = timedelta(milliseconds=1)
    longest: timedelta = timedelta(milliseconds=1)
    counts: list[int] = field(default_factory=list)

    def pause(self, failures: int, random: Callable[[], float] = lambda: 0.0) -> timedelta:
        self.counts.append(failures)
        return super().pause(failures, random)


@pytest.fixture
def backoff() -> RecordingBackoff:
    return RecordingBackoff()


@pytest.fixture
def follower(api: ClusterApi, backoff: RecordingBackoff) -> Reflector:
    async def connect() -> ClusterApi:
        return api

    return Reflector(connect, PODS, "a=b", backoff=backoff)


@pytest.fixture(autouse=True)
def no_watch_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches that end count as too short, however slow this machine is."""
    monkeypatch.setattr(reflector, "SHORTEST_WATCH_S", math.inf)


@pytest.fixture
def any_watch_lasts(no_watch_lasts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches that end at once count as having lasted."""
    monkeypatch.setattr(reflector, "SHORTEST_WATCH_S", 0.0)


def pod(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def line(kind: str, name: str, version: int) -> bytes:
    return orjson.dumps({"type": kind, "object": pod(name, version)}) + b"\n"


END = (line("ADDED", "end", 99), lambda: asyncio.sleep(60))
"""A watch that stays open after one event."""


def listing(version: int, *names: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": [pod(name) for name in names]}


def error_line(status: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": "ERROR", "object": status}) + b"\n"


def script(kmock: Mock, *, lists: Sequence[Any], watches: Sequence[Any]) -> None:
    """The answers to lists and to watches, in order: a Status, a list, or a watch's lines. Then `END`."""
    for chosen, answers in ((lists_of(kmock), lists), (watches_of(kmock), [*watches, END])):
        for number, answer in enumerate(answers):
            given = chosen[number : number + 1]
            code = answer.get("code") if isinstance(answer, dict) else None
            _ = given << code << answer if code else given << answer


def watches_of(kmock: Mock) -> Any:
    return kmock[f"get {PODS}", {"watch": "true"}]


def lists_of(kmock: Mock) -> Any:
    return kmock[f"get {PODS}"][lambda request: "watch" not in request.params]


def watched_from(kmock: Mock) -> list[str]:
    return [request.params["resourceVersion"] for request in watches_of(kmock)]


async def until_end(events: AsyncGenerator[Event, None]) -> list[Event]:
    """The events before that of the last watch of a script."""
    found: list[Event] = []
    async with asyncio.timeout(20), aclosing(events):
        async for event in events:
            if event == Changed(pod("end", 99)):
                return found
            found.append(event)
    raise AssertionError("events ended")


def names(events: list[Event]) -> list[str]:
    """The kind of each event, and the object's name of a change."""
    return [
        f"{type(event).__name__} {event.object['metadata']['name']}"
        if isinstance(event, Changed | Deleted)
        else type(event).__name__
        for event in events
    ]


async def test_a_list_is_followed_by_changes(follower: Reflector, kmock: Mock) -> None:
    changes = (line("ADDED", "q", 6), line("MODIFIED", "q", 7), line("DELETED", "p", 8), lambda: asyncio.sleep(60))
    script(kmock, lists=[listing(5, "p")], watches=[changes])
    async with asyncio.timeout(20), aclosing(follower.events()) as events:
        found = [await anext(events) for _ in range(5)]
    assert found == [
        Listing(),
        Listed([pod("p")]),
        Changed(pod("q", 6)),
        Changed(pod("q", 7)),
        Deleted(pod("p", 8)),
    ]
    [listed], [watched] = lists_of(kmock), watches_of(kmock)
    assert (listed.params["labelSelector"], watched.params["labelSelector"]) == ("a=b", "a=b")
    assert watched.params["resourceVersion"] == "5"


@pytest.mark.usefixtures("any_watch_lasts")
async def test_a_watch_that_the_server_ends_is_resumed_without_a_list(
    follower: Reflector, kmock: Mock, backoff: RecordingBackoff
) -> None:
    script(kmock, lists=[listing(5)], watches=[(line("ADDED", "p", 6),), (line("ADDED", "q", 7),)])
    found = await until_end(follower.events())
    assert names(found) == ["Listing", "Listed", "Changed p", "Changed q"]
    assert (watched_from(kmock), backoff.counts) == (["5", "6", "7"], [])


async def test_a_bookmark_moves_the_version_and_is_no_event(follower: Reflector, kmock: Mock) -> None:
    script(kmock, lists=[listing(5)], watches=[(line("BOOKMARK", "", 90),)])
    found = await until_end(follower.events())
    assert names(found) == ["Listing", "Listed"]
    assert watched_from(kmock) == ["5", "90"]


@pytest.mark.parametrize("answer", [EXPIRED, (error_line(EXPIRED),)], ids=["answer", "event"])
async def test_a_version_that_is_too_old_causes_a_list(follower: Reflector, kmock: Mock, answer: Any) -> None:
    script(kmock, lists=[listing(5), listing(70, "p")], watches=[answer])
    found = await until_end(follower.events())
    assert names(found) == ["Listing", "Listed", "WatchFailed", "Listing", "Listed"]
    [failed] = [event for event in found if isinstance(event, WatchFailed)]
    assert failed.error.cause is Cause.GONE
    assert watched_from(kmock) == ["5", "70"]


async def test_a_silent_watch_has_failed(follower: Reflector, kmock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = ClusterApi.watch_objects

    def watch_with_limit(api: ClusterApi, path: str, selector: str, version: str) -> Any:
        return watch(api, path, selector, version, silence_s=0.2 if version == "5" else 60)

    monkeypatch.setattr(ClusterApi, "watch_objects", watch_with_limit)
    script(kmock, lists=[listing(5), listing(6)], watches=[(lambda: asyncio.sleep(60),)])
    found = await until_end(follower.events())
    assert names(found) == ["Listing", "Listed", "WatchFailed", "Listing", "Listed"]


async def test_pauses_grow_until_a_watch_lasts(
    follower: Reflector, kmock: Mock, backoff: RecordingBackoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(kmock, lists=[UNAVAILABLE, UNAVAILABLE, listing(5), listing(6)], watches=[FORBIDDEN, UNAVAILABLE])
    async with asyncio.timeout(20), aclosing(follower.events()) as events:
        found = [await anext(events) for _ in range(9)]
        assert backoff.counts == [1, 2, 3]
        monkeypatch.setattr(reflector, "SHORTEST_WATCH_S", 0.0)
        found.append(await anext(events))
        await anext(events)
    assert names(found) == [
        *("Listing", "ListFailed", "Listing", "ListFailed"),
        *("Listing", "Listed", "WatchFailed", "Listing", "Listed", "WatchFailed"),
    ]
    assert backoff.counts == [1, 2, 3, 1]


async def test_watches_that_end_at_once_are_resumed_ever_more_rarely(
    follower: Reflector, kmock: Mock, backoff: RecordingBackoff
) -> None:
    script(kmock, lists=[listing(5)], watches=[(b"\n",)] * 3)
    await until_end(follower.events())
    assert (watched_from(kmock), backoff.counts) == (["5"] * 4, [1, 2, 3])
    assert len(list(lists_of(kmock))) == 1


async def test_a_list_or_a_watch_that_is_forbidden_is_reported_and_tried_again(
    follower: Reflector, kmock: Mock
) -> None:
    script(kmock, lists=[FORBIDDEN, listing(5), listing(6)], watches=[FORBIDDEN])
    found = await until_end(follower.events())
    failed = [event for event in found if isinstance(event, ListFailed | WatchFailed)]
    assert [type(event) for event in failed] == [ListFailed, WatchFailed]
    assert {event.error.cause for event in failed} == {Cause.FORBIDDEN}


@pytest.mark.usefixtures("any_watch_lasts")
async def test_a_requested_list_waits_for_the_end_of_the_watch(
    follower: Reflector, kmock: Mock, backoff: RecordingBackoff
) -> None:
    script(kmock, lists=[listing(5), listing(9)], watches=[(line("ADDED", "p", 6), line("ADDED", "q", 7))])
    async with asyncio.timeout(20), aclosing(follower.events()) as events:
        found = [await anext(events) for _ in range(3)]
        follower.request_list()
        found += [await anext(events) for _ in range(3)]
    assert names(found) == ["Listing", "Listed", "Changed p", "Changed q", "Listing", "Listed"]
    assert backoff.counts == []


async def test_a_consumer_that_failed_gets_a_list_after_a_pause(
    follower: Reflector, kmock: Mock, backoff: RecordingBackoff
) -> None:
    script(kmock, lists=[listing(5), listing(6), listing(7)], watches=[])
    for _ in range(3):
        async with asyncio.timeout(20), aclosing(follower.events()) as events:
            assert names([await anext(events) for _ in range(2)]) == ["Listing", "Listed"]
    assert backoff.counts == [1, 2]


async def test_the_cluster_is_connected_to_before_each_list(api: ClusterApi, kmock: Mock) -> None:
    connected: list[int] = []

    async def connect() -> ClusterApi:
        connected.append(len(list(lists_of(kmock))))
        return api

    script(kmock, lists=[UNAVAILABLE, listing(5)], watches=[])
    await until_end(Reflector(connect, PODS, backoff=RecordingBackoff()).events())
    assert connected == [0, 1]


async def test_cancelling_closes_the_stream(follower: Reflector, api: ClusterApi, kmock: Mock) -> None:
    script(kmock, lists=[listing(5)], watches=[])

    is_open = asyncio.Event()

    async def follow() -> None:
        async with aclosing(follower.events()) as events:
            async for event in events:
                if isinstance(event, Changed):
                    is_open.set()

    task = asyncio.create_task(follow())
    streams = api._transport._streams
    async with asyncio.timeout(20):
        await is_open.wait()
        assert len(streams) == 1
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert not streams


async def states(api: ClusterApi, *retried: Cause) -> list[tuple[str, bool]]:
    created = pod("p", 3)
    async with asyncio.timeout(20), aclosing(follow_object(api, PODS, "a=b", created, retried)) as found:
        return [(each["metadata"]["resourceVersion"], deleted) async for each, deleted in found]


async def test_one_object_is_followed_from_its_creation_to_its_deletion(api: ClusterApi, kmock: Mock) -> None:
    other = (line("ADDED", "q", 4), line("DELETED", "q", 6))
    watch = (other[0], line("MODIFIED", "p", 5), other[1], line("DELETED", "p", 7), line("ADDED", "p", 8))
    script(kmock, lists=[], watches=[watch])
    assert await states(api) == [("5", False), ("7", True)]
    assert watched_from(kmock) == ["3"]


async def test_one_object_that_is_not_listed_any_more_was_deleted(api: ClusterApi, kmock: Mock) -> None:
    script(kmock, lists=[listing(9, "q")], watches=[(line("MODIFIED", "p", 5), error_line(EXPIRED))])
    assert await states(api) == [("5", False), ("5", True)]


async def test_failures_are_retried_for_the_given_causes_only(api: ClusterApi, kmock: Mock) -> None:
    script(kmock, lists=[listing(9, "q")], watches=[UNAVAILABLE, FORBIDDEN])
    assert await states(api, Cause.SERVER_ERROR) == [("3", True)]
    with pytest.raises(ClusterError) as caught:
        await states(api, Cause.SERVER_ERROR)
    assert caught.value.cause is Cause.FORBIDDEN


async def test_an_unexpected_error_of_the_api_is_followed_by_a_pause() -> None:
    lists = 0

    class Broken:
        async def list_objects(self, *_: object) -> None:
            nonlocal lists
            lists += 1
            raise OSError("not a ClusterError")

    async def connect() -> Any:
        return Broken()

    reflector = Reflector(connect, "/api/v1/nodes", backoff=Backoff(timedelta(hours=1), timedelta(hours=1)))
    for _ in range(2):
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.05), aclosing(reflector.events()) as events:
                async for _ in events:
                    pass
    assert lists == 1


ODD: list[Any] = [
    {},
    {"metadata": None},
    {"metadata": {"name": "x", "uid": 1, "resourceVersion": "5"}},
    {"metadata": {"name": "x", "uid": "u"}},
    "text",
    None,
    [],
]


async def test_objects_without_name_uid_or_version_are_left_out(follower: Reflector, kmock: Mock) -> None:
    listed = {"metadata": {"resourceVersion": "1"}, "items": [*ODD, pod("a"), *ODD]}
    odd = [orjson.dumps({"type": "MODIFIED", "object": found}) + b"\n" for found in ODD]
    script(kmock, lists=[listed], watches=[(*odd, line("ADDED", "b", 2), *odd, *END)])
    found = await until_end(follower.events())
    assert [event for event in found if not isinstance(event, Malformed)] == [
        Listing(),
        Listed([pod("a")]),
        Changed(pod("b", 2)),
    ]
    assert len(found) == 3 + 4 * len(ODD)
    assert isinstance(found[1], Listed), "a list clears earlier problems: its own ones come after it"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"items": 3}, Cause.CLUSTER_UNREACHABLE),
        ({"metadata": []}, Cause.CLUSTER_UNREACHABLE),
        ({"metadata": {}, "items": None}, Cause.SERVER_ERROR),
    ],
)
async def test_a_malformed_list_has_failed_and_is_requested_again(
    follower: Reflector, kmock: Mock, body: dict[str, Any], cause: Cause
) -> None:
    script(kmock, lists=[body, listing(5, "p")], watches=[])
    found = await until_end(follower.events())
    assert names(found) == ["Listing", "ListFailed", "Listing", "Listed"]
    assert isinstance(found[1], ListFailed)
    assert found[1].error.cause is cause


@pytest.mark.parametrize(
    "change", [b"[]", b"{}", b"3", b"null", b'{"type": "MODIFIED"}', b'{"type": "BOOKMARK", "object": {}}']
)
async def test_a_malformed_change_fails_the_watch_and_a_list_follows(
    follower: Reflector, kmock: Mock, change: bytes
) -> None:
    script(kmock, lists=[listing(5), listing(6)], watches=[(change + b"\n",)])
    found = await until_end(follower.events())
    assert names(found) == ["Listing", "Listed", "WatchFailed", "Listing", "Listed"]
