"""Checks of a cluster: each has its own finding, independent of the others."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import kmock as km
import orjson
import pytest

from kubeprobe.fleet import check_pod
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.check import Finding, check_cluster
from kubeprobe.fleet.check_pod import ImageTrial
from kubeprobe.store import Cluster

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

Mock = km.RawHandler
PODS = "/api/v1/namespaces/ns/pods"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
MADE = {"metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-23T12:00:00Z"}}
TRIAL = ImageTrial("an-image", installation="01test", timeout_s=60)
RBAC = 'User "u" cannot create resource "pods" in API group "" in the namespace "ns"'
Status = dict[str, Any]


def refusal(code: int, reason: str, message: str) -> Status:
    return {"kind": "Status", "code": code, "reason": reason, "message": message}


def healthy(kmock: Mock) -> None:
    """Responses of a healthy cluster; a test's own responses, set before, take precedence."""
    kmock["get /version"] << {"gitVersion": "v1.34.4"}
    kmock["get /api/v1/namespaces/ns"] << {"status": {"phase": "Active"}}
    kmock[f"post {REVIEWS}"] << {"status": {"allowed": True}}
    kmock[f"post {PODS}"] << MADE
    kmock[f"delete {PODS}/p"] << {}
    kmock[f"get {PODS}", {"watch": "true"}] << (event({"containerStatuses": [{"state": {"running": {}}}]}),)
    kmock[f"get {PODS}"] << {"metadata": {"resourceVersion": "1"}, "items": []}


def event(status: Status, kind: str = "MODIFIED") -> bytes:
    pod = {"metadata": {"name": "p", "uid": "u", "resourceVersion": "2"}, "status": status}
    return orjson.dumps({"type": kind, "object": pod}) + b"\n"


async def check(api: ClusterApi, **more: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in await check_cluster(api, "ns", TRIAL, **more)}


async def test_a_healthy_cluster_has_nothing_to_remedy_and_keeps_no_pod(api: ClusterApi, kmock: Mock) -> None:
    healthy(kmock)
    found = await check(api)
    assert list(found) == ["reachable", "version", "clock", "namespace", "permissions", "image"]
    assert all(finding.ok and not finding.remedy for finding in found.values()), found
    assert found["version"].found == "v1.34.4"
    assert kmock["delete"][0].data["preconditions"] == {"uid": "u"}


@pytest.mark.parametrize("allowed", [True, False])
async def test_node_permissions_are_checked_if_a_binding_has_nodes(
    api: ClusterApi,
    kmock: Mock,
    allowed: bool,  # noqa: FBT001 - a case of its own
) -> None:
    kmock[f"post {REVIEWS}"] << {"status": {"allowed": allowed}}
    healthy(kmock)
    found = (await check(api, watches_nodes=True))["nodes"]
    assert found.ok is allowed
    if not allowed:
        assert found.found == "missing: list, watch nodes, and a binding has `nodes`"
        assert '{apiGroups: [""], resources: [nodes], verbs: [list, watch]}' in found.remedy


async def test_an_unreachable_cluster_ends_the_check(clients: ClusterClients, row: Callable[..., Cluster]) -> None:
    found = await check(await clients.get(row("http://127.0.0.1:9")))
    assert list(found) == ["reachable"]
    assert not found["reachable"].ok
    assert "cluster add NAME" in found["reachable"].remedy


async def test_a_cluster_that_hides_its_version_is_checked_further(api: ClusterApi, kmock: Mock) -> None:
    kmock["get /version"] << 403 << refusal(403, "Forbidden", 'User "u" cannot get path "/version"')
    healthy(kmock)
    found = await check(api)
    assert (found["reachable"].ok, found["version"].ok, found["image"].ok) == (True, False, True)


async def test_another_server_than_kubernetes_is_unreachable(api: ClusterApi, kmock: Mock) -> None:
    kmock["get /version"] << b"<html>welcome</html>"
    found = await check(api)
    assert list(found) == ["reachable"]
    assert "the response is not JSON" in found["reachable"].found


@pytest.mark.parametrize(
    ("answer", "ok", "expected"),
    [
        ((201, MADE), True, "ns exists"),
        ((403, refusal(403, "Forbidden", "exceeded quota: q")), True, "ns exists"),
        ((404, {**refusal(404, "NotFound", "no"), "details": {"kind": "namespaces"}}), False, "does not exist"),
        ((403, refusal(403, "Forbidden", "because it is being terminated")), False, "is being deleted"),
        (
            (403, refusal(403, "Forbidden", RBAC)),
            False,
            "whether namespace ns exists: u may not create pods",
        ),
        (
            (500, refusal(500, "InternalError", "etcd is away")),
            False,
            "whether namespace ns exists: etcd is away",
        ),
    ],
)
async def test_a_namespace_that_may_not_be_read_is_checked_by_a_dry_run(
    api: ClusterApi, kmock: Mock, answer: tuple[int, Status], *, ok: bool, expected: str
) -> None:
    kmock["get /api/v1/namespaces/ns"] << 403 << refusal(403, "Forbidden", RBAC.replace("pods", "namespaces"))
    kmock[f"post {PODS}", {"dryRun": "All"}] << answer[0] << answer[1]
    healthy(kmock)
    found = (await check(api))["namespace"]
    assert (found.ok, expected in found.found) == (ok, True), found


@pytest.mark.parametrize(
    ("ahead_s", "expected"),
    [
        (0, "agrees with ours"),
        (-3, "agrees with ours"),
        (-60, "its clock is 60 s ahead of ours"),
        (60, "60 s behind"),
    ],
)
async def test_the_clocks_are_compared(api: ClusterApi, kmock: Mock, ahead_s: int, expected: str) -> None:
    theirs = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    kmock["get /version"] << km.headers({"Date": format_datetime(theirs, usegmt=True)}) << {"gitVersion": "v1.34.4"}
    healthy(kmock)
    ours = theirs + timedelta(seconds=ahead_s + 0.5)  # the header has whole seconds
    found = (await check(api, clock=lambda: ours))["clock"]
    assert expected in found.found
    assert found.ok is (abs(ahead_s) < 5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, refusal(404, "NotFound", 'namespaces "ns" not found')), "does not exist"),
        ((200, {"status": {"phase": "Terminating"}}), "is being deleted"),
        ((500, refusal(500, "InternalError", "etcd is away")), "etcd is away"),
    ],
)
async def test_a_namespace_that_cannot_be_used_is_named(
    api: ClusterApi,
    kmock: Mock,
    answer: tuple[int, Status],
    expected: str,
) -> None:
    kmock["get /api/v1/namespaces/ns"] << answer[0] << answer[1]
    healthy(kmock)
    found = await check(api)
    assert (found["namespace"].ok, expected in found["namespace"].found) == (False, True)
    assert found["image"].ok


async def test_missing_permissions_are_one_finding(api: ClusterApi, kmock: Mock) -> None:
    def judge(request: Any) -> Status:
        attributes = request.data["spec"]["resourceAttributes"]
        return {"status": {"allowed": attributes["verb"] == "get" and not attributes["subresource"]}}

    kmock[f"post {REVIEWS}"] << judge
    healthy(kmock)
    found = await check(api)
    assert found["permissions"].found == "missing: create, list, watch, delete pods; get pods/log"
    assert (found["image"].ok, found["image"].found) == (
        False,
        "not tried: KubeProbe must be allowed to create, list, watch, delete pods",
    )
    assert len(kmock[f"post {PODS}"]) == 0, "a pod that cannot be deleted must not be created"


async def test_a_failed_permission_review_is_a_finding(api: ClusterApi, kmock: Mock) -> None:
    kmock[f"post {REVIEWS}"] << 500 << refusal(500, "InternalError", "etcd is away")
    healthy(kmock)
    found = await check(api)
    assert "cannot be checked: etcd is away" in found["permissions"].found
    assert found["image"].ok


def waiting(reason: str, message: str = "why") -> Status:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


def terminated(reason: str) -> Status:
    return {"containerStatuses": [{"state": {"terminated": {"reason": reason, "exitCode": 1, "message": "why"}}}]}


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([event(waiting("ContainerCreating")), event(terminated("Error"))], None),
        ([event({"containerStatuses": None}, "ADDED"), event(terminated("Completed"))], None),
        ([event(waiting("ErrImagePull"))], "ErrImagePull: why"),
        ([event(waiting("CreateContainerConfigError"))], "CreateContainerConfigError: why"),
        ([event(terminated("StartError"))], "StartError: why"),
        ([event({"phase": "Failed", "reason": "Evicted", "message": "disk"})], "Evicted: disk"),
        ([event({}, "BOOKMARK"), event({}, "DELETED")], "its pod was deleted, not by KubeProbe"),
    ],
)
async def test_an_image_is_judged_by_whether_its_container_ran(
    api: ClusterApi, kmock: Mock, events: list[bytes], problem: str | None
) -> None:
    kmock[f"get {PODS}", {"watch": "true"}] << tuple(events)
    healthy(kmock)
    found = (await check(api))["image"]
    assert (found.ok, found.found) == (problem is None, problem or "a pod of an-image started")
    assert len(kmock["delete"]) == 1


async def test_a_pod_that_does_not_start_in_time_is_a_finding_with_its_reason(
    api: ClusterApi, kmock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit passes when the reason has been read, however long that takes."""
    time_limit, seconds = asyncio.timeout(None), []
    decide = check_pod._Watcher._is_decided

    def decide_and_pass(watcher: check_pod._Watcher, status: Status) -> bool:
        time_limit.reschedule(asyncio.get_running_loop().time())
        return decide(watcher, status)

    def start(limit_s: float) -> asyncio.Timeout:
        seconds.append(limit_s)
        return time_limit

    monkeypatch.setattr(check_pod, "asyncio", SimpleNamespace(timeout=start))
    monkeypatch.setattr(check_pod._Watcher, "_is_decided", decide_and_pass)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    kmock[f"get {PODS}", {"watch": "true"}] << (event({"conditions": [condition]}), ...)
    healthy(kmock)
    trial = ImageTrial("an-image", installation="01test", timeout_s=3)
    found = (await check_cluster(api, "ns", trial))[-1]
    assert found.found == "its pod did not start within 3 s: Unschedulable: 0/3 nodes"
    assert seconds == [3]
    assert len(kmock["delete"]) == 1


async def test_pods_of_killed_checks_are_deleted_and_those_of_running_ones_are_not(
    api: ClusterApi, kmock: Mock
) -> None:
    def pod(name: str, made: str) -> Status:
        return {"metadata": MADE["metadata"] | {"name": name, "uid": f"uid-{name}", "creationTimestamp": made}}

    items = [pod("old", "2026-11-23T11:49:59Z"), pod("running", "2026-11-23T11:50:01Z")]
    kmock[f"get {PODS}", {"labelSelector": "kubeprobe.io/installation=01test,kubeprobe.io/check"}] << {
        "metadata": {"resourceVersion": "1"},
        "items": items,
    }
    kmock[f"delete {PODS}/old"] << {}
    healthy(kmock)
    await check(api)
    assert [request.url.name for request in kmock["delete"]] == ["old", "p"]
