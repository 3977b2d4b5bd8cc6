"""Answers of a container runtime, and errors without one; scenarios use a real runtime."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes import _cri
from probes._cri import (
    Condition,
    RuntimeNotFound,
    RuntimeUnavailable,
    Sandbox,
    conditions,
    network_namespace,
    socket_of,
)
from tests.probes.scenario import Bed


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a socket has at most 107 bytes, and `tmp_path` may be nearly as long."""
    with tempfile.TemporaryDirectory(prefix="cri-") as name:
        yield Path(name)


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message: https://protobuf.dev/programming-guides/encoding."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    last = value & 0x7F
    return bytes([last]) if value < 0x80 else bytes([last | 0x80]) + varint(value >> 7)


def test_a_sandbox_is_read_with_its_pod() -> None:
    metadata = field(1, b"web") + field(2, b"uid-1") + field(3, b"shop") + field(4, 300)
    message = field(1, b"a" * 64) + field(2, metadata) + field(3, 1) + field(4, 1_700_000_000_000_000_000)
    found = _cri._sandbox(dict(_cri._fields(message)))
    assert found == Sandbox("a" * 64, "uid-1", "shop/web", ready=False, created=1_700_000_000.0)


def test_missing_fields_of_a_message_are_zero_and_zero_is_ready() -> None:
    assert _cri._sandbox(dict(_cri._fields(field(1, b"a")))).ready


def test_a_condition_is_read() -> None:
    message = field(1, b"NetworkReady") + field(3, b"NotReady") + field(4, b"cni plugin not initialized")
    found = _cri._condition(dict(_cri._fields(message)))
    assert found == Condition("NetworkReady", status=False, reason="NotReady", message="cni plugin not initialized")


def test_fields_of_fixed_length_are_skipped() -> None:
    message = b"\x09" + 8 * b"\1" + b"\x15" + 4 * b"\2" + field(3, 7)
    assert dict(_cri._fields(message))[3] == 7


def test_the_network_namespace_is_in_the_runtimes_details() -> None:
    details = (
        '{"runtimeSpec": {"linux": {"namespaces": [{"type": "ipc"}, {"type": "network", "path": "/run/netns/a"}]}}}'
    )
    assert _cri._namespace_in(details) == "/run/netns/a"
    assert _cri._namespace_in('{"runtimeSpec": {"linux": {"namespaces": [{"type": "network"}]}}}') == ""
    assert _cri._namespace_in("{}") == ""


def test_the_socket_is_the_parameters_or_a_usual_one(folder: Path) -> None:
    with pytest.raises(RuntimeNotFound, match=r"no socket found at .*/run/crio/crio\.sock.* \(RUNTIME_SOCKET\)"):
        socket_of(folder, "")
    (folder / "run/crio").mkdir(parents=True)
    with listening(folder / "run/crio/crio.sock"):
        assert socket_of(folder, "") == folder / "run/crio/crio.sock"
    assert socket_of(folder, "/elsewhere") == folder / "elsewhere", (
        "even if nothing is there, so that the error names it"
    )


@pytest.mark.parametrize("usual", ["run/k3s/containerd/containerd.sock", "run/crio/crio.sock", "run/cri-dockerd.sock"])
def test_the_socket_of_dockers_containerd_is_only_used_without_another(folder: Path, usual: str) -> None:
    of_docker = folder / "run/containerd/containerd.sock"
    for path in (of_docker, folder / usual):
        path.parent.mkdir(parents=True, exist_ok=True)
    with listening(of_docker):
        assert socket_of(folder, "") == of_docker, "without another one, it may be the runtime's"
        with listening(folder / usual):
            assert socket_of(folder, "") == folder / usual


@pytest.mark.real
def test_a_sandbox_that_was_removed_has_no_network_namespace(bed: Bed) -> None:
    assert network_namespace(bed.testbed.instance.containerd_socket, "0" * 64) == ""


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_a_runtime_that_does_not_answer_a_call_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cri, "RUNTIME_TIMEOUT", 0.1)
    with listening(folder / "s"), pytest.raises(RuntimeUnavailable, match=r"/s: no answer to Status within 0\.1 s"):
        conditions(folder / "s")


def test_another_program_at_the_socket_is_reported(folder: Path) -> None:
    with listening(folder / "s") as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RuntimeUnavailable, match=r"container runtime at .*/s: Status: "):
            conditions(folder / "s")
        thread.join(10)


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05ab", b"\xff" * 20, b"\x0b", b"\x80"])
def test_an_answer_that_is_not_protobuf_is_an_error_of_the_runtime(
    monkeypatch: pytest.MonkeyPatch, folder: Path, message: bytes
) -> None:
    monkeypatch.setattr(_cri, "_call", lambda *_: message)
    for read in (conditions, _cri.sandboxes):
        with pytest.raises(RuntimeUnavailable, match="not a protobuf message"):
            read(folder)


@pytest.mark.parametrize("details", [b"nonsense", b"[]", b'{"runtimeSpec": 1}', b"[" * 100_000])
def test_details_of_another_format_are_an_error_of_the_runtime(
    monkeypatch: pytest.MonkeyPatch, folder: Path, details: bytes
) -> None:
    monkeypatch.setattr(_cri, "_call", lambda *_: field(2, field(1, b"info") + field(2, details)))
    with pytest.raises(RuntimeUnavailable, match="PodSandboxStatus: "):
        network_namespace(folder, "a")
