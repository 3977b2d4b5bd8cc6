"""Every kind of credentials against a real API server, and a server that does not answer."""

import asyncio
import base64
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kubeprobe.fleet import transport
from kubeprobe.fleet.access import AccessSource
from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.credentials import in_cluster
from kubeprobe.fleet.errors import Cause, ClusterError, PermanentError
from kubeprobe.fleet.kubeconfig import cluster_of, flatten, read_kubeconfig, user_of
from kubeprobe.fleet.transport import Transport, open_session
from testbed import Instance, Testbed
from testbed.instance import API_SERVICE_ADDRESS, NODE_ADDRESS
from tests.real.fleet.conftest import Enter
from tests.real.fleet.given import Accounts, Json, kubeconfig_with, pod
from tests.unit.fleet.certificates import Authority

READ_PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def who(api: ClusterApi) -> str:
    """The name of the authenticated user."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return str((await api.call("POST", WHOAMI, body=review))["status"]["userInfo"]["username"])


async def refused(request: Any) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await request
    return caught.value


async def until_refused(api: ClusterApi) -> None:
    """Wait until a token is refused, as the API server caches valid ones for some seconds."""
    async with asyncio.timeout(60):
        while True:
            try:
                await who(api)
            except PermanentError:
                return


def decode(data: str) -> str:
    return base64.b64decode(data).decode()


def plugin(path: Path, status: Json) -> Json:
    """An exec plugin with a constant status."""
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    path.write_text(f"import json\nprint(json.dumps({credential!r}))\n")
    return {"apiVersion": version, "command": sys.executable, "args": [str(path)], "interactiveMode": "Never"}


async def test_a_client_certificate_opens_the_cluster(admin: ClusterApi) -> None:
    assert (await admin.version()).startswith("v1.")
    assert await who(admin)


@pytest.mark.parametrize("rotations", [1, pytest.param(5, marks=pytest.mark.soak)])
async def test_a_token_file_survives_rotations_with_the_old_token_revoked(
    enter: Enter, accounts: Accounts, namespace: str, kubeconfig: Path, tmp_path: Path, rotations: int
) -> None:
    """Failure mode 10. The minute after which a file is read anyway is never reached."""
    await accounts.make("rotated", READ_PODS)
    path = tmp_path / "token"
    path.write_text(await accounts.token("rotated", bound_to="t0"))
    api = await enter(kubeconfig_with(tmp_path / "config", kubeconfig, {"tokenFile": str(path)}))
    me = f"system:serviceaccount:{namespace}:rotated"
    assert await who(api) == me
    for rotation in range(1, rotations + 1):
        old = await enter(kubeconfig_with(tmp_path / "old", kubeconfig, {"token": path.read_text()}))
        path.write_text(await accounts.token("rotated", bound_to=f"t{rotation}"))
        await accounts.revoke(f"t{rotation - 1}")
        await until_refused(old)
        assert await who(api) == me
        await api.list_objects(pods_path(namespace))


async def test_a_plugin_provides_a_token_or_a_certificate(
    enter: Enter, accounts: Accounts, namespace: str, kubeconfig: Path, tmp_path: Path
) -> None:
    await accounts.make("plugged", READ_PODS)
    token = {"token": await accounts.token("plugged")}
    by_token = await enter(kubeconfig_with(tmp_path / "a", kubeconfig, {"exec": plugin(tmp_path / "a.py", token)}))
    assert await who(by_token) == f"system:serviceaccount:{namespace}:plugged"
    flat = flatten(read_kubeconfig(kubeconfig), kubeconfig.parent)
    user = user_of(flat)
    certificate = {
        "clientCertificateData": decode(user["client-certificate-data"]),
        "clientKeyData": decode(user["client-key-data"]),
    }
    by_cert = await enter(kubeconfig_with(tmp_path / "b", kubeconfig, {"exec": plugin(tmp_path / "b.py", certificate)}))
    assert await who(by_cert) == await who(await enter(kubeconfig))


async def test_the_service_account_of_a_pod_opens_the_cluster(
    accounts: Accounts, namespace: str, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.make("inside", READ_PODS)
    flat = flatten(read_kubeconfig(kubeconfig), kubeconfig.parent)
    (tmp_path / "ca.crt").write_text(decode(cluster_of(flat)["certificate-authority-data"]))
    (tmp_path / "token").write_text(await accounts.token("inside"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", API_SERVICE_ADDRESS)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    async with open_session() as session:
        source = AccessSource(in_cluster, service_account=tmp_path)
        api = ClusterApi("inside", Transport("inside", session, source))
        assert await who(api) == f"system:serviceaccount:{namespace}:inside"


async def test_an_invalid_token_is_unauthorized(enter: Enter, kubeconfig: Path, tmp_path: Path) -> None:
    api = await enter(kubeconfig_with(tmp_path / "config", kubeconfig, {"token": "none"}))
    assert (await refused(api.version())).cause is Cause.UNAUTHORIZED


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ({"certificate_authority_data": Authority().pair.certificate_data}, "unknown authority"),
        ({"certificate_authority_data": None}, "unknown authority"),
        ({"tls_server_name": "elsewhere.example.com"}, "for another host name"),
        ({"server": f"http://{NODE_ADDRESS}:6443"}, "not a response of a Kubernetes API"),
    ],
)
async def test_wrong_settings_are_named(
    enter: Enter, kubeconfig: Path, tmp_path: Path, cluster: dict[str, str | None], reason: str
) -> None:
    user = {} if "server" in cluster else {"token": "none"}  # which is not sent over plain http
    api = await enter(kubeconfig_with(tmp_path / "config", kubeconfig, user, **cluster))
    error = await refused(api.version())
    assert (error.cause, reason in error.message) == (Cause.CLUSTER_UNREACHABLE, True), error


async def test_a_frozen_api_server_is_detected_by_requests_and_watches_and_used_again(
    admin: ClusterApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failure mode 9: the connections stay open, but nothing arrives."""
    testbed = Testbed(Instance.named())
    _, version = await admin.list_objects(pods_path(namespace))
    await admin.create_pod(namespace, pod("seen", nodeName="nowhere"))
    watching = asyncio.Event()

    async def follow() -> None:
        async with aclosing(admin.watch_objects(pods_path(namespace), "", version, silence_s=8.0)) as events:
            async for _ in events:
                watching.set()

    await admin.version()
    watch = asyncio.create_task(follow())
    await asyncio.wait_for(watching.wait(), 20)
    testbed.pause("kube-apiserver")  # before it ends the watch, after 6 s
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 2.0)
    try:
        request = await refused(asyncio.wait_for(admin.version(), 20))
        silent = await refused(asyncio.wait_for(watch, 20))
    finally:
        testbed.resume("kube-apiserver")
    assert (request.cause, silent.cause) == (Cause.CLUSTER_UNREACHABLE, Cause.CLUSTER_UNREACHABLE)
    assert request.message == "no response within the time limit"
    assert silent.message == "the connection was silent for too long"
    monkeypatch.undo()
    assert await admin.version()
