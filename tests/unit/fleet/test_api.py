"""Requests of ClusterApi and its handling of unusual responses; kmock plays the cluster."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import kmock as km
import orjson
import pytest

from kubeprobe.fleet import transport
from kubeprobe.fleet.api import ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster

pytestmark = pytest.mark.kmock(cls=km.RawHandler)  # its emulated Kubernetes would answer before our script

Mock = km.RawHandler
PODS = "/api/v1/namespaces/ns/pods"


def status(code: int, reason: str, message: str = "said the cluster") -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


def line(kind: str, name: str, version: int) -> bytes:
    return orjson.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": str(version)}}}) + b"\n"


async def refused(request: Any) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await request
    return caught.value


async def watched(api: ClusterApi, version: str = "5", silence_s: float = 60) -> list[tuple[str, str]]:
    async with aclosing(api.watch_objects(pods_path("ns"), "a=b", version, silence_s)) as events:
        return [(kind, pod["metadata"].get("name", "")) async for kind, pod in events]


async def test_a_pod_is_created_with_our_credentials(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"post {PODS}"] << 201 << {"metadata": {"name": "p", "uid": "u"}}
    assert (await api.create_pod("ns", {"kind": "Pod"}))["metadata"]["uid"] == "u"
    request = kmock["post"][0]
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.data == {"kind": "Pod"}


async def test_already_exists_differs_from_other_conflicts(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"post {PODS}"] << 409 << status(409, "AlreadyExists")
    error = await refused(api.create_pod("ns", {}))
    assert error.cause is Cause.ALREADY_EXISTS
    assert str(error) == f"cluster c: POST {PODS}: said the cluster"


async def test_a_pod_is_deleted_by_its_uid(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"delete {PODS}/p"] << {}
    await api.delete_pod("ns", "p", "uid-1", grace_s=0)
    assert kmock["delete"][0].data["preconditions"] == {"uid": "uid-1"}
    assert kmock["delete"][0].data["gracePeriodSeconds"] == 0


@pytest.mark.parametrize(("code", "reason"), [(404, "NotFound"), (409, "Conflict")])
async def test_deleting_a_pod_that_is_deleted_or_replaced_is_not_an_error(
    api: ClusterApi, kmock: Mock, code: int, reason: str
) -> None:
    kmock[f"delete {PODS}/p"] << code << status(code, reason)
    await api.delete_pod("ns", "p", "uid-1")
    assert len(kmock["delete"]) == 1


async def test_a_forbidden_deletion_is_an_error(api: ClusterApi, kmock: Mock) -> None:
    (
        kmock[f"delete {PODS}/p"]
        << 403
        << status(403, "Forbidden", 'User "u" cannot delete resource "pods" in API group ""')
    )
    assert (await refused(api.delete_pod("ns", "p", "uid-1"))).cause is Cause.FORBIDDEN


async def test_a_long_list_is_read_page_by_page(api: ClusterApi, kmock: Mock) -> None:
    first = {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"a": 1}]}
    kmock[f"get {PODS}", {"continue": "next"}] << {"metadata": {"resourceVersion": "7"}, "items": [{"a": 2}]}
    kmock[f"get {PODS}"] << first
    assert await api.list_objects(pods_path("ns"), "a in (b, c)") == ([{"a": 1}, {"a": 2}], "7")
    assert [request.params["labelSelector"] for request in kmock["get"]] == ["a in (b, c)"] * 2


async def test_the_items_of_an_empty_list_may_be_null(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"get {PODS}"] << {"metadata": {"resourceVersion": "7"}, "items": None}
    assert await api.list_objects(pods_path("ns")) == ([], "7")


async def test_a_watch_yields_events_and_bookmarks_until_the_server_ends_it(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"get {PODS}"] << (line("ADDED", "p", 6), line("BOOKMARK", "", 9), b"\n", line("DELETED", "p", 10))
    assert await watched(api) == [("ADDED", "p"), ("BOOKMARK", ""), ("DELETED", "p")]
    assert dict(kmock["get"][0].params) == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "50",
        "labelSelector": "a=b",
    }


async def test_a_long_event_may_arrive_in_chunks(api: ClusterApi, kmock: Mock) -> None:
    event = line("ADDED", "x" * 1_000_000, 6) + line("ADDED", "y", 7)
    kmock[f"get {PODS}"] << tuple(event[at : at + 70_001] for at in range(0, len(event), 70_001))
    assert [len(name) for _, name in await watched(api)] == [1_000_000, 1]


async def test_an_expired_version_is_gone_as_a_response_and_as_an_event(api: ClusterApi, kmock: Mock) -> None:
    expired = status(410, "Expired", "too old resource version")
    kmock[f"get {PODS}", {"resourceVersion": "1"}] << 410 << expired
    kmock[f"get {PODS}", {"resourceVersion": "2"}] << (orjson.dumps({"type": "ERROR", "object": expired}) + b"\n",)
    for version in ("1", "2"):
        assert (await refused(watched(api, version))).cause is Cause.GONE


async def test_a_silent_watch_fails(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"get {PODS}"] << (line("ADDED", "p", 6), lambda: asyncio.sleep(30))
    error = await refused(watched(api, silence_s=0.3))
    assert (error.cause, error.message) == (Cause.CLUSTER_UNREACHABLE, "the connection was silent for too long")


async def test_a_watch_cut_in_the_middle_of_an_event_fails(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"get {PODS}"] << (line("ADDED", "p", 6)[:-20],)
    assert (await refused(watched(api))).cause is Cause.CLUSTER_UNREACHABLE


async def test_closing_a_client_ends_its_watches(api: ClusterApi, kmock: Mock) -> None:
    began = asyncio.Event()

    async def follow() -> None:
        async with aclosing(api.watch_objects(pods_path("ns"), "", "5")) as events:
            async for _ in events:
                began.set()

    kmock[f"get {PODS}"] << (line("ADDED", "p", 6), lambda: asyncio.sleep(30))
    task = asyncio.create_task(follow())
    await asyncio.wait_for(began.wait(), 10)
    await api.close()
    assert (await refused(asyncio.wait_for(task, 10))).cause is Cause.CLUSTER_UNREACHABLE


async def test_a_log_that_is_not_utf_8_is_read(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"get {PODS}/p/log"] << b"one\n\xff\n"
    assert await api.read_log("ns", "p", 10) == "one\n\N{REPLACEMENT CHARACTER}\n"
    assert dict(kmock["get"][0].params) == {"container": "probe", "limitBytes": "1000000", "tailLines": "10"}


async def test_a_log_is_followed_line_by_line_with_its_blank_lines(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"get {PODS}/p/log"] << (b"one\n\ntw", b"o\nend")
    async with aclosing(api.follow_log("ns", "p")) as lines:
        assert [line async for line in lines] == ["one", "", "two", "end"]


async def test_a_hanging_log_request_times_out(api: ClusterApi, kmock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.3)
    kmock[f"get {PODS}/p/log"] << (b"one\n", lambda: asyncio.sleep(30))
    assert (await refused(api.read_log("ns", "p"))).message == "no response within the time limit"


async def test_a_hanging_cluster_does_not_delay_requests_to_others(
    clients: ClusterClients, row: Callable[..., Cluster], kmock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 300.0)
    hanging = asyncio.Event()
    kmock["get /bad/version"] << (hanging.wait, {"gitVersion": "v0"})
    kmock["get /good/version"] << {"gitVersion": "v1"}
    bad = await clients.get(row(f"{kmock.url}/bad", name="bad"))
    good = await clients.get(row(f"{kmock.url}/good", name="good"))
    stuck = [asyncio.create_task(bad.version()) for _ in range(3 * transport.PARALLEL_REQUESTS)]
    assert await asyncio.wait_for(good.version(), 60) == "v1"
    for task in stuck:
        task.cancel()
    hanging.set()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_response_that_is_not_json_means_unreachable(api: ClusterApi, kmock: Mock) -> None:
    kmock["get /version"] << b"<html>welcome</html>"
    assert (await refused(api.version())).cause is Cause.CLUSTER_UNREACHABLE


async def test_a_redirect_does_not_send_the_credentials_elsewhere(api: ClusterApi, kmock: Mock) -> None:
    kmock["get /version"] << 302 << {"Location": f"{kmock.url}/elsewhere"}
    assert (await refused(api.version())).cause is Cause.CLUSTER_UNREACHABLE
    assert len(kmock["get /elsewhere"]) == 0


async def test_the_path_of_a_server_address_is_kept(
    clients: ClusterClients, row: Callable[..., Cluster], kmock: Mock
) -> None:
    kmock["get /clusters/c0001/version"] << {"gitVersion": "v1"}
    api = await clients.get(row(f"{kmock.url}/clusters/c0001/"))
    assert await api.version() == "v1"


async def test_proxies_of_the_environment_are_ignored(
    api: ClusterApi, kmock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    kmock["get /version"] << {"gitVersion": "v1"}
    assert await api.version() == "v1"


async def test_retry_after_is_read(api: ClusterApi, kmock: Mock) -> None:
    kmock["get /version"] << 429 << {"Retry-After": "3"} << status(429, "TooManyRequests")
    error = await refused(api.version())
    assert (error.cause, error.retry_after_s) == (Cause.THROTTLED, 3.0)
