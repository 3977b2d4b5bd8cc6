"""An image registry on loopback: the part of the OCI distribution specification 1.1 for push and pull."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


class Registry(ThreadingHTTPServer):
    """A registry: manifests by repository and tag or digest, blobs by digest."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}

    @property
    def host(self) -> str:
        """Its host name in image references."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = _PATH.fullmatch(urlsplit(self.path).path)
        if path is None:
            self._answer(200)
        elif path["kind"] == "blobs":
            self._give("application/octet-stream", self.server.blobs.get(path["reference"]))
        else:
            media, body = self.server.manifests.get((path["name"], path["reference"]), ("", None))
            self._give(media, body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self._body()
        self._answer(202, Location=f"{self.path.rstrip('/')}/upload-{id(self)}")

    def do_PATCH(self) -> None:
        body = self._body()
        self.server.blobs[self.path] = self.server.blobs.get(self.path, b"") + body
        self._answer(202, Location=self.path, Range=f"0-{len(self.server.blobs[self.path]) - 1}")

    def do_PUT(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        path = _PATH.fullmatch(url.path)
        if path is not None and path["kind"] == "manifests":
            digest = digest_of(body)
            entry = (self.headers["Content-Type"], body)
            self.server.manifests[path["name"], path["reference"]] = entry
            self.server.manifests[path["name"], digest] = entry
        else:
            [digest] = parse_qs(url.query)["digest"]
            self.server.blobs[digest] = self.server.blobs.pop(url.path, b"") + body
            assert digest_of(self.server.blobs[digest]) == digest
        self._answer(201, **{"Location": url.path, "Docker-Content-Digest": digest})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _give(self, media: str, body: bytes | None) -> None:
        if body is None:
            self._answer(404)
        else:
            self._answer(200, body, **{"Content-Type": media, "Docker-Content-Digest": digest_of(body)})

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


def digest_of(body: bytes) -> str:
    """The digest that identifies content."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@contextmanager
def registry() -> Iterator[Registry]:
    """A running registry."""
    with Registry() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
