"""A server that sends responses byte by byte as a test has them, for HTTP's small print."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Received:
    """A request as it was received."""

    head: bytes
    body: bytes

    @property
    def target(self) -> bytes:
        """The target in its first line."""
        return self.head.split(b" ")[1]


@contextmanager
def raw_server(answer: Callable[[Received], bytes], *, read_body: bool = True) -> Iterator[int]:
    """Answer each connection's request and close the connection; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.settimeout(10)
                        connection.sendall(answer(_receive(connection, read_body=read_body)))
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65536):  # a close with unread data would reset the connection
                            continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _receive(connection: socket.socket, *, read_body: bool) -> Received:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _read(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while read_body and len(body) < length:
        body += _read(connection)
    return Received(head, body)


def _read(connection: socket.socket) -> bytes:
    if received := connection.recv(65536):
        return received
    raise ConnectionError("the client has closed the connection within its request")
