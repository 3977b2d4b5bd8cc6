"""A client of the container runtime's CRI, over its socket.

https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto
Three calls with small answers: `h2` implements HTTP/2, and messages are parsed field by field. grpcio and generated
stubs would take longer to import than these calls take. Used by the node probes.
"""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h2.connection
import h2.events
import h2.exceptions

RUNTIME_TIMEOUT = 5.0
"""Time limit of each read from the socket, in seconds."""

SOCKETS = (
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/containerd/containerd.sock",
)
"""The sockets of runtimes: https://kubernetes.io/docs/setup/production-environment/container-runtimes, and of K3s.

containerd's own is last: Docker's containerd uses it too, beside one of the others, and serves no CRI.
"""

_SERVICE = "/runtime.v1.RuntimeService"
_READY = 0
_ANSWER_LIMIT = 64 << 20  # bytes; the kubelet's own limit is 16 MiB
_NOT_FOUND = "5"  # https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
Fields = dict[int, int | bytes]


class RuntimeUnavailable(Exception):  # noqa: N818
    """The container runtime did not answer, or refused; the text has the error and the socket."""


class RuntimeNotFound(RuntimeUnavailable):
    """There is no socket of a container runtime at the usual paths; the runtime may use another one."""


class _NotFound(ValueError):  # noqa: N818 - as gRPC calls it
    """The runtime does not know the requested object."""


@dataclass(frozen=True)
class Condition:
    """RuntimeReady or NetworkReady."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Sandbox:
    """A pod sandbox of the runtime."""

    id: str
    pod_uid: str
    name: str
    """`namespace/name`."""
    ready: bool
    """Whether its network namespace must still exist."""
    created: float
    """Seconds since 1970."""


def socket_of(root: Path, configured: str) -> Path:
    """The socket of a node's runtime: the given one, else the first of SOCKETS that exists.

    `root` is where the node's `/` is mounted. Raises RuntimeNotFound if there is none.
    """
    paths = [root / path.lstrip("/") for path in ([configured] if configured else SOCKETS)]
    for path in paths:
        if configured or path.is_socket():
            return path
    raise RuntimeNotFound(f"container runtime: no socket found at {', '.join(SOCKETS)}: set its path (RUNTIME_SOCKET)")


def conditions(path: Path) -> list[Condition]:
    """The runtime's conditions. Raises RuntimeUnavailable."""
    with _parsing(path, "Status"):
        return parse_conditions(_call(path, "Status"))


def sandboxes(path: Path) -> list[Sandbox]:
    """All sandboxes of the runtime. Raises RuntimeUnavailable."""
    with _parsing(path, "ListPodSandbox"):
        return parse_sandboxes(_call(path, "ListPodSandbox"))


def network_namespace(path: Path, sandbox: str) -> str:
    """The path of a sandbox's network namespace; empty if it has none, or was removed. Raises RuntimeUnavailable."""
    request = bytes([1 << 3 | 2, len(sandbox)]) + sandbox.encode() + b"\x10\x01"  # verbose: with details of the runtime
    try:
        with _parsing(path, "PodSandboxStatus"):
            return parse_network_namespace(_call(path, "PodSandboxStatus", request))
    except _NotFound:  # removed since it was listed
        return ""


def parse_conditions(answer: bytes) -> list[Condition]:
    """Parse a StatusResponse; raises ValueError."""
    return [_condition(dict(_fields(found))) for status in _messages(answer, 1)[:1] for found in _messages(status, 1)]


def parse_sandboxes(answer: bytes) -> list[Sandbox]:
    """Parse a ListPodSandboxResponse; raises ValueError."""
    return [_sandbox(dict(_fields(found))) for found in _messages(answer, 1)]


def parse_network_namespace(answer: bytes) -> str:
    """The path of the network namespace in a PodSandboxStatusResponse; raises ValueError."""
    for found in _messages(answer, 2):
        entry = dict(_fields(found))
        if _text(entry, 1) == "info":
            try:
                return _namespace_in(_text(entry, 2))
            except (LookupError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(f"the details of the sandbox have another format: {error}") from error
    return ""


@contextmanager
def _parsing(path: Path, method: str) -> Iterator[None]:
    try:
        yield
    except _NotFound:
        raise
    except ValueError as error:
        raise RuntimeUnavailable(f"container runtime at {path}: {method}: {error}") from error


def _namespace_in(details: str) -> str:
    spec = json.loads(details).get("runtimeSpec") or {}
    for namespace in (spec.get("linux") or {}).get("namespaces") or ():
        if namespace["type"] == "network":
            return str(namespace.get("path", ""))
    return ""


def _call(path: Path, method: str, request: bytes = b"") -> bytes:
    """One unary call of gRPC: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.

    Raises RuntimeUnavailable and _NotFound.
    """
    runtime = f"container runtime at {path}"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(RUNTIME_TIMEOUT)
            connection.connect(str(path))
            return _exchange(connection, method, struct.pack(">?I", False, len(request)) + request)
    except TimeoutError as error:
        raise RuntimeUnavailable(f"{runtime}: no answer to {method} within {RUNTIME_TIMEOUT:g} s") from error
    except _NotFound:
        raise
    except (OSError, ValueError, h2.exceptions.H2Error) as error:
        raise RuntimeUnavailable(f"{runtime}: {method}: {error}") from error


def _exchange(connection: socket.socket, method: str, message: bytes) -> bytes:
    call = _Call(method, message)
    while not call.ended:
        connection.sendall(call.http.data_to_send())
        received = connection.recv(65_536)
        if not received:
            raise ValueError("the connection was closed")
        for event in call.http.receive_data(received):
            call.handle(event)
    if (status := call.headers.get("grpc-status")) != "0":
        error_type = _NotFound if status == _NOT_FOUND else ValueError
        raise error_type(call.headers.get("grpc-message") or f"status {status}")
    return bytes(call.answer[5:])


class _Call:
    """One call on its own connection."""

    def __init__(self, method: str, message: bytes) -> None:
        self.http = h2.connection.H2Connection()
        self.answer = bytearray()
        self.headers: dict[str, str] = {}
        self.ended = False
        self.http.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", f"{_SERVICE}/{method}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._stream = self.http.get_next_available_stream_id()
        self.http.send_headers(self._stream, headers)
        self.http.send_data(self._stream, message, end_stream=True)

    def handle(self, event: h2.events.Event) -> None:
        """Handle an event from the runtime; raises ValueError if the runtime aborts the call."""
        if isinstance(event, h2.events.DataReceived):
            self.answer += event.data
            if len(self.answer) > _ANSWER_LIMIT:
                raise ValueError(f"an answer of more than {_ANSWER_LIMIT} bytes")
            self.http.acknowledge_received_data(event.flow_controlled_length, self._stream)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.headers |= {bytes(name).decode(): bytes(value).decode() for name, value in event.headers}
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            raise ValueError("the call was aborted")  # noqa: TRY004 - the runtime's fault, not a type error


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: https://protobuf.dev/programming-guides/encoding. Raises ValueError."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, offset = _varint(message, offset)
            yield number, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"not a protobuf message: wire type {kind}")
        length, offset = _varint(message, offset) if kind == 2 else ({1: 8, 5: 4}[kind], offset)
        if offset + length > len(message):
            raise ValueError("not a protobuf message: its end is missing")
        yield number, message[offset : offset + length]
        offset += length


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if offset >= len(message):
            raise ValueError("not a protobuf message: its end is missing")
        byte = message[offset]
        value |= (byte & 0x7F) << shift
        offset += 1
        if byte < 0x80:
            return value, offset
    raise ValueError("not a protobuf message: a number has more than 64 bits")


def _messages(message: bytes, number: int) -> list[bytes]:
    """All messages in a field."""
    return [found for field_number, found in _fields(message) if field_number == number and isinstance(found, bytes)]


def _text(fields: Fields, number: int) -> str:
    found = fields.get(number, b"")
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else ""


def _condition(fields: Fields) -> Condition:
    return Condition(_text(fields, 1), bool(fields.get(2)), _text(fields, 3), _text(fields, 4))


def _sandbox(fields: Fields) -> Sandbox:
    metadata = fields.get(2, b"")
    names = dict(_fields(metadata if isinstance(metadata, bytes) else b""))
    created = fields.get(4, 0)
    return Sandbox(
        id=_text(fields, 1),
        pod_uid=_text(names, 2),
        name=f"{_text(names, 3)}/{_text(names, 1)}",
        ready=fields.get(3, _READY) == _READY,
        created=created / 1e9 if isinstance(created, int) else 0.0,
    )
