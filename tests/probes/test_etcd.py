import pytest

from probes._etcd import Endpoint, EtcdError, encoded, prefix_end, revision
from tests.probes.scripted import scripted_api

DENIED = {"error": "etcdserver: permission denied", "code": 7, "message": "etcdserver: permission denied"}


def test_an_answer_is_that_of_the_gateway() -> None:
    with (
        scripted_api((200, {"header": {"revision": "7"}})) as server,
        Endpoint(f"http://127.0.0.1:{server.server_port}", None, 5) as endpoint,
    ):
        assert revision(endpoint.post("kv/put", {"key": encoded("a")})) == 7
        assert server.requests == ["POST /v3/kv/put"]


def test_a_refusal_has_etcds_message_and_code() -> None:
    with (
        scripted_api((403, DENIED)) as server,
        Endpoint(f"http://127.0.0.1:{server.server_port}", None, 5) as endpoint,
        pytest.raises(EtcdError, match=r"etcdserver: permission denied \(kv/put at http") as caught,
    ):
        endpoint.post("kv/put")
    assert caught.value.code == 7


def test_a_server_that_is_not_an_etcd_is_reported() -> None:
    with (
        scripted_api((404, b"<html>")) as server,
        Endpoint(f"http://127.0.0.1:{server.server_port}", None, 5) as endpoint,
        pytest.raises(EtcdError, match="404: expected etcd's JSON gateway, got '<html>'"),
    ):
        endpoint.post("kv/put")


def test_an_unreachable_server_is_named() -> None:
    with (
        Endpoint("http://127.0.0.1:9", None, 5) as endpoint,
        pytest.raises(EtcdError, match=r"no answer from http://127\.0\.0\.1:9 "),
    ):
        endpoint.post("kv/put")


def test_an_error_within_a_stream_ends_it() -> None:
    lines = b'{"result": {"created": true}}\n{"error": {"code": 14, "message": "etcdserver: no leader"}}\n'
    with (
        scripted_api((200, lines)) as server,
        Endpoint(f"http://127.0.0.1:{server.server_port}", None, 5) as endpoint,
        endpoint.stream("watch", {}) as answers,
    ):
        assert next(answers) == {"created": True}
        with pytest.raises(EtcdError, match="no leader"):
            next(answers)


def test_the_end_of_a_prefix_is_the_first_key_after_it() -> None:
    assert prefix_end("/kubeprobe/a/") == "/kubeprobe/a0"
