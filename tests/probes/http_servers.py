"""HTTP servers for the tests, with or without TLS."""

import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any


@dataclass(frozen=True)
class Request:
    """A received request."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Response:
    """The answer to a request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


RequestHandler = Callable[[Request], Response]


@contextmanager
def http_server(
    answering: RequestHandler, host: str = "127.0.0.1", pem: bytes | Callable[[], bytes] = b""
) -> Iterator[int]:
    """A server with these answers, with TLS if `pem` (chain and key, or a function) is given; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = answering(Request(self.command, self.path, headers, self.rfile.read(size)))
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_args: Any) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: Any) -> None:
            """Log nothing: in some tests clients close the connection."""

        def finish_request(self, request: Any, client_address: Any) -> None:
            """Do the handshake in the request's own thread, so that a silent client does not block others."""
            if not pem:
                super().finish_request(request, client_address)
                return
            with suppress(OSError), _secured(request, pem if isinstance(pem, bytes) else pem()) as secure:
                super().finish_request(secure, client_address)

    with Server((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _secured(plain: socket, pem: bytes) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context.wrap_socket(plain, server_side=True)
