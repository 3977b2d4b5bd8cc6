"""Credentials that change are read again when they are old, rejected or expired, once for concurrent requests."""

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kmock as km
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from ruamel.yaml import YAML

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import access, execplugin
from kubeprobe.fleet.access import AccessError, AccessSource
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind, in_cluster, local
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.kubeconfig_model import ClusterFields, ExecFields
from kubeprobe.fleet.official import official_client
from kubeprobe.store import Cluster
from tests.unit.fleet.certificates import Authority
from tests.unit.fleet.rows import cluster_row, connection_to

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

VERSION = "client.authentication.k8s.io/v1"
UNAUTHORIZED = {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"}


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def source(user: dict[str, Any], clock: Clock | None = None) -> AccessSource:
    return AccessSource(lambda: connection_to("https://h", user=user), clock or Clock())


def plugin(tmp_path: Path, body: str, **more: Any) -> dict[str, Any]:
    """An exec plugin in Python; `answer(**status)` writes an ExecCredential. Each run is counted in `runs`."""
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, os, pathlib, sys, time\n"
        f"runs = pathlib.Path({str(tmp_path / 'runs')!r})\n"
        "count = len(runs.read_text()) + 1 if runs.exists() else 1\n"
        "runs.write_text('x' * count)\n"
        "def answer(**status):\n"
        f"    print(json.dumps({{'apiVersion': '{VERSION}', 'kind': 'ExecCredential', 'status': status}}))\n"
        f"{body}\n"
    )
    return {"apiVersion": VERSION, "command": sys.executable, "args": [str(script)]} | more


def runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text())


async def refused(found: AccessSource) -> str:
    with pytest.raises(AccessError) as caught:
        await found.current()
    return str(caught.value)


async def test_a_token_and_a_password_become_headers() -> None:
    assert (await source({"token": "t"}).current()).authorization == "Bearer t"
    basic = await source({"username": "u", "password": "p"}).current()
    assert basic.authorization == "Basic dTpw"
    assert (await source({}).current()).authorization is None


async def test_over_plain_http_credentials_stay_on_this_machine() -> None:
    here = ("http://127.0.0.2:1", "http://[::1]", "http://localhost", "http://0.0.0.0:1")
    for server in (*here, "http://h", "http://10.0.0.1"):
        for user in ({"token": "t"}, {"username": "u"}):
            connection = connection_to(server, user=user)
            access = await AccessSource(partial(Connection, connection.kind, connection.config)).current()
            assert (access.authorization is not None) is (server in here)


@pytest.mark.parametrize("stored", ["no", "yes", 0, None])
async def test_verification_stays_on_whatever_an_earlier_version_stored(stored: Any) -> None:
    connection = connection_to("https://h", {"insecure-skip-tls-verify": stored})
    found = AccessSource(lambda: connection)
    if stored is None:
        access = await found.current()
        assert isinstance(access.ssl, ssl.SSLContext)
        assert access.ssl.verify_mode is ssl.CERT_REQUIRED
    else:
        assert "cluster.insecure-skip-tls-verify is" in await refused(found)


async def test_an_impersonated_user_is_sent_in_headers() -> None:
    user = {"token": "t", "as": "jane", "as-uid": "4", "as-groups": ["a", "b"], "as-user-extra": {"a/b%": ["c"]}}
    assert (await source(user).current()).impersonation == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "4"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-a%2Fb%25", "c"),
    )


def test_the_official_client_impersonates_as_far_as_it_can(cipher: Cipher) -> None:
    user = {"token": "t", "as": "jane", "as-groups": ["a"]}
    config = {**connection_to("https://h", user=user).config, "current-context": "c"}
    config["contexts"] = [{"name": "c", "context": {"cluster": "cluster", "user": "cluster"}}]
    with official_client(cluster_row(cipher, Connection(ConnectionKind.KUBECONFIG, config)), cipher) as client:
        assert client.default_headers["Impersonate-Group"] == "a"
    user["as-groups"] = ["a", "b"]
    with pytest.raises(InvalidInputError, match="cannot impersonate several groups"):
        official_client(cluster_row(cipher, Connection(ConnectionKind.KUBECONFIG, config)), cipher)


async def test_an_access_does_not_show_its_secrets() -> None:
    assert "s3cret" not in repr(await source({"token": "s3cret"}).current())


async def test_a_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", Clock()
    path.write_text("one\n")
    found = source({"tokenFile": str(path)}, clock)
    assert (await found.current()).authorization == "Bearer one"
    path.write_text("two\n")
    clock.now += timedelta(seconds=59)
    assert (await found.current()).authorization == "Bearer one"
    clock.now += timedelta(seconds=1)
    assert (await found.current()).authorization == "Bearer two"


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
async def test_a_token_file_without_a_token_is_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    assert str(path) in await refused(source({"tokenFile": str(path)}))


async def test_a_plugin_runs_again_shortly_before_its_credentials_expire(tmp_path: Path) -> None:
    clock = Clock()
    expires = (clock.now + timedelta(minutes=10)).isoformat().replace("+00:00", "Z")
    found = source({"exec": plugin(tmp_path, f"answer(token=f't{{count}}', expirationTimestamp={expires!r})")}, clock)
    for _ in range(3):
        assert (await found.current()).authorization == "Bearer t1"
    clock.now += timedelta(minutes=9, seconds=50)
    assert (await found.current()).authorization == "Bearer t2"


async def test_concurrent_requests_run_the_plugin_once(tmp_path: Path) -> None:
    found = source({"exec": plugin(tmp_path, "answer(token='t')")})
    await asyncio.gather(*(found.current() for _ in range(20)))
    assert runs(tmp_path) == 1


async def test_a_plugin_may_return_a_client_certificate(tmp_path: Path) -> None:
    pair = Authority().issue("kubeprobe")
    body = f"answer(clientCertificateData={pair.certificate!r}, clientKeyData={pair.key!r})"
    connection = connection_to("https://h", user={"exec": plugin(tmp_path, body)})
    access = await AccessSource(lambda: connection).current()
    assert access.authorization is None
    assert access.ssl is not True


async def test_a_plugin_gets_the_cluster_but_not_our_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEPROBE_SECRET_KEY", "s3cret")
    body = "answer(token=json.dumps([dict(os.environ), sys.stdin.read()]))"
    spec = plugin(tmp_path, body, env=[{"name": "REGION", "value": "eu"}], provideClusterInfo=True)
    cluster = {
        "tls-server-name": "other",
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}],
    }
    fields = ClusterFields.model_validate({"server": "https://h"} | cluster)
    found = await asyncio.to_thread(execplugin.run_plugin, ExecFields.model_validate(spec), fields)
    assert found.token is not None
    env, stdin = json.loads(found.token)
    assert (env["REGION"], stdin) == ("eu", "")
    assert "KUBEPROBE_SECRET_KEY" not in env
    exec_info = json.loads(env["KUBERNETES_EXEC_INFO"])
    assert exec_info["spec"] == {
        "interactive": False,
        "cluster": {"server": "https://h", "tls-server-name": "other", "config": {"audience": "a"}},
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit('not logged in')", "exited with code 1: not logged in"),
        ("print('s3cret')", "wrote no valid ExecCredential"),
        ("print('[]')", "wrote no valid ExecCredential"),
        ("answer()", "returned neither a token nor a certificate with its key"),
        ("answer(clientCertificateData='x')", "returned neither a token nor a certificate with its key"),
        ("answer(token='t', expirationTimestamp='tomorrow')", "wrote no valid ExecCredential"),
        (
            "print(json.dumps({'apiVersion': 'v0', 'kind': 'ExecCredential', 'status': {'token': 's3cret'}}))",
            "returned another apiVersion",
        ),
    ],
)
async def test_the_error_of_an_invalid_plugin_output_does_not_show_it(tmp_path: Path, body: str, reason: str) -> None:
    message = await refused(source({"exec": plugin(tmp_path, body)}))
    assert reason in message
    assert "s3cret" not in message


async def test_the_error_of_a_missing_plugin_has_its_install_hint() -> None:
    spec = {"apiVersion": VERSION, "command": "no-such-plugin", "installHint": "get it from the platform team"}
    message = await refused(source({"exec": spec}))
    assert "'no-such-plugin' cannot be started: No such file or directory; get it from" in message


async def test_a_plugin_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(execplugin, "PLUGIN_TIMEOUT_S", 0.5)
    monkeypatch.setattr(execplugin, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": start}))
    spec = {"apiVersion": VERSION, "command": "sleep", "args": ["600"]}
    assert "timed out after 0.5 s" in await refused(source({"exec": spec}))
    assert [process.returncode for process in started] == [-signal.SIGKILL]


async def test_a_plugin_runs_in_a_loop_beside_the_main_thread(tmp_path: Path) -> None:
    """Launchers run their loop in a separate thread."""
    spec = {"exec": plugin(tmp_path, "answer(token='t')")}
    access = await asyncio.to_thread(lambda: asyncio.run(source(spec).current()))
    assert access.authorization == "Bearer t"


async def test_a_rejected_token_is_read_again_over_three_rotations(
    clients: ClusterClients, row: Callable[..., Cluster], tmp_path: Path
) -> None:
    """Failure mode 10: the file changes, and the old token is revoked at once."""
    path, valid = tmp_path / "token", "t0"

    async def judge(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == f"Bearer {valid}":
            return web.json_response({"gitVersion": valid})
        return web.json_response(UNAUTHORIZED, status=401)

    app = web.Application()
    app.router.add_get("/version", judge)
    async with TestServer(app) as server:
        api = await clients.get(row(str(server.make_url("")), tokenFile=str(path)))
        for rotation in range(4):
            valid = f"t{rotation}"
            path.write_text(valid)
            assert await asyncio.gather(*(api.version() for _ in range(10))) == [valid] * 10


async def test_rejected_credentials_are_tried_twice(
    clients: ClusterClients, row: Callable[..., Cluster], kmock: km.RawHandler
) -> None:
    kmock["get /version"] << 401 << UNAUTHORIZED
    with pytest.raises(ClusterError, match="the credentials are not accepted") as caught:
        await (await clients.get(row(str(kmock.url), token="s3cret"))).version()
    assert caught.value.cause is Cause.UNAUTHORIZED
    assert len(kmock["get"]) == 2
    assert "s3cret" not in str(caught.value)


async def test_a_plugin_that_fails_is_named_and_is_no_evidence_about_the_cluster(
    clients: ClusterClients, row: Callable[..., Cluster], tmp_path: Path
) -> None:
    api = await clients.get(row("https://h", exec=plugin(tmp_path, "sys.exit('not logged in')")))
    with pytest.raises(ClusterError, match=r"no credentials: exec plugin .* not logged in") as caught:
        await api.version()
    assert caught.value.cause is Cause.CREDENTIALS_UNAVAILABLE


def write_kubeconfig(path: Path, server: str) -> None:
    config = {
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": {"server": server}}],
        "users": [{"name": "local", "user": {"token": "t"}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
    }
    with path.open("w") as file:
        YAML().dump(config, file)


async def test_a_new_port_of_the_local_cluster_is_read_again(
    clients: ClusterClients, cipher: Cipher, kmock: km.RawHandler, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    api = await clients.get(cluster_row(cipher, local(path)))
    with pytest.raises(ClusterError, match="does not exist: the local cluster is not running"):
        await api.version()
    write_kubeconfig(path, "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="cannot connect"):
        await api.version()
    write_kubeconfig(path, str(kmock.url))
    kmock["get /version"] << {"gitVersion": "v1"}
    assert await api.version() == "v1"


async def test_in_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    (tmp_path / "ca.crt").write_text(Authority().pair.certificate)
    (tmp_path / "token").write_text("one")
    found = AccessSource(in_cluster, clock, tmp_path)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "is not running in a pod" in await refused(found)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    first = await found.current()
    assert (first.server, first.authorization) == ("https://[fd00::1]:443", "Bearer one")
    (tmp_path / "token").write_text("two")
    clock.now += timedelta(minutes=1)
    second = await found.current()
    assert second.authorization == "Bearer two"
    assert second.ssl is first.ssl, "connections are kept as long as the certificates are the same"


async def test_the_context_of_earlier_certificates_is_not_used_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    began, ends = threading.Event(), threading.Event()

    def make_context(tls: Any) -> Any:
        if tls.certificate == "old":
            began.set()
            ends.wait()
        return tls.certificate

    monkeypatch.setattr(access, "_make_context", make_context)
    source = AccessSource(lambda: Connection(ConnectionKind.IN_CLUSTER))
    old, new = (access._Tls("authority", verify=True, certificate=each, key="key") for each in ("old", "new"))
    request = asyncio.create_task(source._context(old))
    await asyncio.to_thread(began.wait)
    request.cancel()
    await asyncio.wait([request])
    made = asyncio.create_task(source._context(new))
    await asyncio.sleep(0)  # it has begun
    ends.set()
    assert await made == "new"
