"""The client of a real API server: pods from creation to deletion, and the cause of every refusal."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.errors import Cause, ClusterError, PermanentError, TemporaryError
from tests.real.fleet.conftest import Enter
from tests.real.fleet.given import Accounts, Json, kubeconfig_with, pod, refused_in_time
from tests.unit.fleet.certificates import Authority, server_context

PATIENCE_S = 60
POLICIES = "/apis/admissionregistration.k8s.io/v1"


async def refused(request: Any) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await request
    return caught.value


async def wait_for(api: ClusterApi, namespace: str, created: Json, what: str) -> Json:
    """The pod when its first container is `running` or `terminated`, or it is `DELETED`."""
    selector, version = f"app={created['metadata']['name']}", created["metadata"]["resourceVersion"]
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(api.watch_objects(pods_path(namespace), selector, version)) as events,
    ):
        async for kind, seen in events:
            containers = seen.get("status", {}).get("containerStatuses") or [{}]
            if kind == what or what in containers[0].get("state", {}):
                return seen
    raise AssertionError(f"pod {selector} was never {what}")


async def test_a_pod_from_creation_to_deletion(admin: ClusterApi, namespace: str) -> None:
    created = await admin.create_pod(
        namespace, pod("p", "echo one; echo two; echo done > /dev/termination-log; exit 1")
    )
    ended = (await wait_for(admin, namespace, created, "terminated"))["status"]["containerStatuses"][0]["state"]
    assert (ended["terminated"]["exitCode"], ended["terminated"]["message"]) == (1, "done\n")
    assert await admin.read_log(namespace, "p", tail_lines=1) == "two\n"
    listed, _ = await admin.list_objects(pods_path(namespace), "app=p")
    assert [found["metadata"]["name"] for found in listed] == ["p"]
    uid = created["metadata"]["uid"]
    await admin.delete_pod(namespace, "p", "00000000-0000-0000-0000-000000000000")
    assert (await admin.get_pod(namespace, "p"))["metadata"]["uid"] == uid, "another UID is another pod"
    await admin.delete_pod(namespace, "p", uid, grace_s=0)
    await wait_for(admin, namespace, created, "DELETED")
    await admin.delete_pod(namespace, "p", uid)
    assert (await refused(admin.get_pod(namespace, "p"))).cause is Cause.NOT_FOUND


async def test_a_log_is_followed_while_it_is_written(admin: ClusterApi, namespace: str) -> None:
    created = await admin.create_pod(namespace, pod("p", "echo one; sleep 5; echo; echo two"))
    await wait_for(admin, namespace, created, "running")
    async with asyncio.timeout(PATIENCE_S), aclosing(admin.follow_log(namespace, "p")) as lines:
        assert [line async for line in lines] == ["one", "", "two"]


async def test_a_taken_name_is_already_exists(admin: ClusterApi, namespace: str) -> None:
    await admin.create_pod(namespace, pod("p", nodeName="nowhere"))
    assert (await refused(admin.create_pod(namespace, pod("p")))).cause is Cause.ALREADY_EXISTS


async def test_a_malformed_pod_is_invalid(admin: ClusterApi, namespace: str) -> None:
    error = await refused(admin.create_pod(namespace, pod("p", restartPolicy="Sometimes")))
    assert (error.cause, "restartPolicy" in error.message) == (Cause.INVALID, True)


async def test_an_idle_watch_gets_bookmarks_and_ends_before_the_read_time_out(
    admin: ClusterApi, namespace: str
) -> None:
    _, version = await admin.list_objects(pods_path(namespace))
    await admin.create_pod(namespace, pod("before", nodeName="nowhere"))
    kinds: list[str] = []
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(admin.watch_objects(pods_path(namespace), "", version, 12.0)) as events,
    ):
        async for kind, _ in events:
            if not kinds:  # a bookmark needs a pod that changed, anywhere in the cluster, after the watch began
                await admin.create_pod(namespace, pod("after", nodeName="nowhere"))
            kinds.append(kind)
    assert kinds[0] == "ADDED", kinds
    assert "BOOKMARK" in kinds, kinds


async def test_an_exhausted_quota_is_temporary(admin: ClusterApi, namespace: str) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    await admin.call("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", body=quota)
    error = await refused_in_time(admin, namespace, "exceeded quota")
    assert (error.cause, isinstance(error, TemporaryError)) == (Cause.QUOTA_EXCEEDED, True), error


async def test_pod_security_denies(admin: ClusterApi, namespace: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await admin.merge_patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}}, {})
    error = await refused_in_time(admin, namespace, "violates PodSecurity")
    assert error.cause is Cause.ADMISSION_DENIED, error


@asynccontextmanager
async def applied(admin: ClusterApi, kind: str, body: Json) -> AsyncIterator[None]:
    """A cluster-wide admission object, for a while."""
    await admin.call("POST", f"{POLICIES}/{kind}", body=body)
    try:
        yield
    finally:
        await admin.call("DELETE", f"{POLICIES}/{kind}/{body['metadata']['name']}")


async def test_an_admission_policy_denies(admin: ClusterApi, namespace: str) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    match = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    meta = {"metadata": {"name": namespace}}
    policy = meta | {
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no pods today"}],
        }
    }
    binding = meta | {"spec": {"policyName": namespace, "validationActions": ["Deny"], "matchResources": match}}
    async with (
        applied(admin, "validatingadmissionpolicies", policy),
        applied(admin, "validatingadmissionpolicybindings", binding),
    ):
        error = await refused_in_time(admin, namespace, "no pods today")
    assert error.cause is Cause.ADMISSION_DENIED, error


def webhook(namespace: str, url: str, authority: str) -> Json:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    hook = {
        "name": "pods.example.com",
        "clientConfig": {"url": url, "caBundle": authority},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 10,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    return {"metadata": {"name": namespace}, "webhooks": [hook]}


async def deny(request: web.Request) -> web.Response:
    review = await request.json()
    answer = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "no such team"}}
    return web.json_response({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": answer})


async def test_a_denial_by_a_webhook_is_final_and_an_unavailable_webhook_is_temporary(
    admin: ClusterApi, namespace: str, tmp_path: Path
) -> None:
    authority, app = Authority(), web.Application()
    app.router.add_post("/", deny)
    runner = web.AppRunner(app)
    await runner.setup()
    context = server_context(authority.issue("hook", host="127.0.0.1"), tmp_path)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    async with applied(
        admin, "validatingwebhookconfigurations", webhook(namespace, url, authority.pair.certificate_data)
    ):
        denied = await refused_in_time(admin, namespace, "no such team")
        await runner.cleanup()
        down = await refused_in_time(admin, namespace, "failed calling webhook")
    assert denied.cause is Cause.ADMISSION_DENIED, denied
    assert isinstance(denied, PermanentError)
    assert down.cause is Cause.SERVER_ERROR, down
    assert isinstance(down, TemporaryError)


async def test_a_missing_namespace_is_named(admin: ClusterApi) -> None:
    error = await refused(admin.create_pod("no-such-namespace", pod("p")))
    assert (error.cause, '"no-such-namespace" not found' in error.message) == (Cause.NAMESPACE_MISSING, True)


async def test_a_terminating_namespace_accepts_no_pods(admin: ClusterApi) -> None:
    name = f"fleet-{secrets.token_hex(4)}"
    path = f"/api/v1/namespaces/{name}"
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await admin.call("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    await admin.call("POST", f"{path}/configmaps", body=held)
    await admin.call("DELETE", path)
    error = await refused(admin.create_pod(name, pod("p")))
    # Not a PUT, which conflicts with the deletion by the namespace controller.
    await admin.merge_patch(f"{path}/configmaps/held", {"metadata": {"finalizers": None}}, {})
    assert error.cause is Cause.NAMESPACE_TERMINATING, error


async def test_missing_permissions_of_an_account_are_named(
    enter: Enter, accounts: Accounts, namespace: str, kubeconfig: Path, tmp_path: Path
) -> None:
    await accounts.make("few", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    api = await enter(kubeconfig_with(tmp_path / "few", kubeconfig, {"token": await accounts.token("few")}))
    await api.list_objects(pods_path(namespace))
    error = await refused(api.create_pod(namespace, pod("p")))
    assert error.cause is Cause.FORBIDDEN
    who = f"system:serviceaccount:{namespace}:few"
    assert error.message == f"{who} may not create pods in namespace {namespace}; grant it by RBAC"


async def test_a_closed_port_is_unreachable(enter: Enter, kubeconfig: Path, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        server = f"https://127.0.0.1:{held.getsockname()[1]}"
        api = await enter(kubeconfig_with(tmp_path / "away", kubeconfig, {"token": "none"}, server=server))
        error = await refused(api.version())
    assert (error.cause, "Connection refused" in error.message) == (Cause.CLUSTER_UNREACHABLE, True)
