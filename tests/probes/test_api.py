import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from probes._access import Access, AccessError, find_access
from probes._api import Api, ApiError, PermissionMissing
from tests.probes.certificates import expiring_certificate
from tests.probes.scripted import ScriptedApi, scripted_api

PODS = "/api/v1/namespaces/team-a/pods"


@pytest.fixture
def api() -> Iterator[Callable[..., Api]]:
    """Connects a client to a scripted API; closed at the end."""
    with ExitStack() as stack:

        def connect(server: ScriptedApi, prefix: str = "") -> Api:
            return stack.enter_context(Api(Access(f"http://127.0.0.1:{server.server_port}{prefix}")))

        yield connect


def status(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "team-a"',
            "permission missing: create pods in team-a",
        ),
        (
            'pods "x" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "team-a"',
            "permission missing: get pods/log in team-a",
        ),
        (
            'secrets is forbidden: User "u" cannot list resource "secrets" in API group "" at the cluster scope',
            "permission missing: list secrets at the cluster scope",
        ),
    ],
)
def test_a_missing_permission_is_named(message, expected, api) -> None:
    with scripted_api(status(403, "Forbidden", message)) as server, pytest.raises(PermissionMissing) as caught:
        api(server).create(PODS, {})
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "message", ['pods "x" is forbidden: exceeded quota: q', 'pods "x" is forbidden: violates PodSecurity "restricted"']
)
def test_quota_and_admission_are_refusals_not_missing_permissions(message, api) -> None:
    with scripted_api(status(403, "Forbidden", message)) as server, pytest.raises(ApiError) as caught:
        api(server).create(PODS, {})
    assert not isinstance(caught.value, PermissionMissing)
    assert str(caught.value) == f"403 Forbidden: {message} (POST {PODS})"


def test_an_error_that_is_not_a_status_is_reported_unchanged(api) -> None:
    with scripted_api((502, b"bad gateway\n")) as server, pytest.raises(ApiError, match=r"502 : bad gateway \("):
        api(server).get(PODS)


def test_an_answer_that_is_not_json_is_an_error(api) -> None:
    with scripted_api((200, b"<html>")) as server, pytest.raises(ApiError, match="expected JSON, got b'<html>'"):
        api(server).get(PODS)


def test_a_closed_connection_is_reported_with_the_server(api) -> None:
    with scripted_api((200, None)) as server, pytest.raises(ApiError, match="no answer from the API server http"):
        api(server).get(PODS)


def test_a_read_is_repeated_over_a_new_connection_after_a_server_restart(api) -> None:
    with scripted_api((200, {"a": 1}), (200, None), (200, {"a": 2})) as server:
        client = api(server)
        assert client.get("/first") == {"a": 1}
        assert client.get("/second") == {"a": 2}
    assert server.requests == ["GET /first", "GET /second", "GET /second"]


def test_a_write_is_not_repeated_after_a_broken_connection(api) -> None:
    with scripted_api((200, {"a": 1}), (200, None), (200, {"a": 2})) as server:
        client = api(server)
        client.get("/first")
        with pytest.raises(ApiError, match="no answer from the API server"):
            client.create("/second", {})
    assert server.requests == ["GET /first", "POST /second"]


def throttled(retry_after: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    return *status(429, "TooManyRequests", "storage is (re)initializing"), {"Retry-After": retry_after}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_throttled_request_is_sent_again(method, api) -> None:
    with scripted_api(throttled("0"), throttled("0"), (200, {"a": 1})) as server:
        client = api(server)
        assert (client.get(PODS) if method == "GET" else client.create(PODS, {})) == {"a": 1}
    assert server.requests == [f"{method} {PODS}"] * 3


@pytest.mark.parametrize(
    "refusal",
    [
        throttled("3600"),
        status(429, "TooManyRequests", "storage is (re)initializing"),
        throttled("tomorrow"),
        throttled("\u00b2"),
    ],
    ids=["longer than the timeout", "no Retry-After", "Retry-After is not a number", "Retry-After is not a decimal"],
)
def test_too_many_requests_are_an_error_if_waiting_would_not_help(refusal, api) -> None:
    with scripted_api(refusal) as server, pytest.raises(ApiError, match=r"429 TooManyRequests: storage is") as caught:
        api(server).get(PODS)
    assert caught.value.status == 429
    assert server.requests == [f"GET {PODS}"]


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(ApiError, match=r"no answer from the API server http://127\.0\.0\.1:1 .*refused"):
        Api(Access("http://127.0.0.1:1")).get(PODS)


def test_a_list_is_read_page_by_page(api) -> None:
    pages = [{"metadata": {"continue": "more"}, "items": [1]}, {"metadata": {}, "items": [2]}]
    with scripted_api(*((200, page) for page in pages)) as server:
        assert list(api(server).pages(PODS, 1, fieldSelector="type=x")) == [[1], [2]]
    assert server.requests == [
        f"GET {PODS}?fieldSelector=type%3Dx&limit=1",
        f"GET {PODS}?fieldSelector=type%3Dx&limit=1&continue=more",
    ]


def test_a_list_that_became_too_old_is_read_again(api) -> None:
    with scripted_api(
        (200, {"metadata": {"continue": "more"}, "items": [1]}),
        status(410, "Expired", "too old"),
        (200, {"metadata": {}, "items": [1, 2]}),
    ) as server:
        assert list(api(server).pages(PODS, 1)) == [[1], [1, 2]]


def test_a_watch_that_is_too_old_raises_410(api) -> None:
    gone = {"type": "ERROR", "object": status(410, "Expired", "too old resource version")[1]}
    with scripted_api((200, json.dumps(gone).encode() + b"\n")) as server, pytest.raises(ApiError) as caught:
        list(api(server).watch(PODS, 5))
    assert caught.value.status == 410


def test_a_watch_gives_events_until_the_server_ends_it(api) -> None:
    events = [{"type": "ADDED", "object": {}}, {"type": "DELETED", "object": {}}]
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    with scripted_api((200, lines)) as server:
        assert list(api(server).watch(PODS, 5)) == events


def test_a_proxys_path_is_kept(api) -> None:
    with scripted_api((200, {})) as server:
        api(server, "/clusters/c1").get("/version")
    assert server.requests == ["GET /clusters/c1/version"]


def kubeconfig(path: Path, user: dict[str, Any], **cluster: Any) -> dict[str, str]:
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://example.com:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(document))
    return {"KUBECONFIG": str(path)}


def test_a_kubeconfig_gives_server_namespace_and_token(tmp_path: Path) -> None:
    access = find_access(kubeconfig(tmp_path / "config", {"token": "secret"}))
    assert (access.host, access.port, access.namespace, access.token) == (
        "example.com",
        6443,
        "team-a",
        "secret",
    )
    assert "secret" not in repr(access)


def test_a_kubeconfig_may_be_yaml_and_refer_to_files_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    (tmp_path / "config").write_text(
        "current-context: a\n"
        "contexts: [{name: a, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:8080'}}]\n"
        "users: [{name: u, user: {tokenFile: token}}]\n"
    )
    access = find_access({"KUBECONFIG": str(tmp_path / "config")})
    assert (access.token, access.tls, access.namespace) == ("from a file", None, "default")


def test_a_kubeconfig_may_hold_certificates(tmp_path: Path) -> None:
    pem, key = (base64.b64encode(pem).decode() for pem in expiring_certificate(9))
    user = {"client-certificate-data": pem, "client-key-data": key}
    access = find_access(kubeconfig(tmp_path / "config", user, **{"certificate-authority-data": pem}))
    assert access.tls is not None
    assert access.tls.cert_store_stats()["x509"] == 1


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"exec": {"command": "login"}}, "the user has exec: expected token, tokenFile or client certificate"),
        ({"tokenFile": "missing"}, "FileNotFoundError"),
        ({"client-certificate-data": "bm8="}, "client-key-data"),
    ],
)
def test_an_unusable_kubeconfig_is_reported_with_the_cause(tmp_path: Path, user, expected) -> None:
    with pytest.raises(AccessError, match=expected):
        find_access(kubeconfig(tmp_path / "config", user))


def test_without_kubeconfig_and_service_account_there_is_no_access() -> None:
    with pytest.raises(AccessError, match="KUBECONFIG is not set and the service account is not mounted"):
        find_access({})


@pytest.mark.parametrize("status_code", [200, 500])
def test_a_deeply_nested_body_is_an_error_of_the_api(api: Callable[..., Api], status_code: int) -> None:
    with scripted_api((status_code, b"[" * 200_000)) as server, pytest.raises(ApiError):
        api(server).get(PODS)


@pytest.mark.parametrize("line", [b"[" * 200_000, b"{}", b"[]", b"nonsense"])
def test_an_invalid_event_of_a_watch_is_an_error_of_the_api(api: Callable[..., Api], line: bytes) -> None:
    with scripted_api((200, line + b"\n")) as server, pytest.raises(ApiError, match="no answer from the API server"):
        list(api(server).watch(PODS, 5))
