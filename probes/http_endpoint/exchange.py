"""One request and its answer, phase by phase: resolve, connect, TLS, first byte, body."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from kubeprobe_client import CheckFailed, step

from probes.http_endpoint.trust import explain, plain_reason, subject

BODY_LIMIT = 1 << 20
"""The maximum number of bytes that are read of a body."""
_PORTS = {"http": 80, "https": 443}


def parse_url(text: str) -> SplitResult:
    """Parse a URL; raises ValueError."""
    url = urlsplit(text)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"{text!r}: expected a URL such as https://web.example.com/healthz")
    if not 0 < (url.port or 1) < 65536:  # .port raises ValueError for an invalid number
        raise ValueError(f"{text!r}: expected a port from 1 to 65535")
    if url.username is not None:
        raise ValueError("a URL with a user's name and password: expected them in HEADERS, as Authorization")
    return url


@dataclass(frozen=True)
class Request:
    """The request to send."""

    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass
class Answer:
    """The result of a request."""

    status: int = 0
    reason: str = ""
    location: str = ""
    """The target of a redirect."""
    body: str = ""
    cut: bool = False
    """Whether the body was truncated."""
    phases: dict[str, float] = field(default_factory=dict)
    """Milliseconds by phase."""
    certificate: str = ""
    days_left: float | None = None
    """Days until the certificate expires; None without TLS."""


class Exchange:
    """One request to one URL. Raises CheckFailed naming the failed phase."""

    def __init__(self, url: SplitResult, request: Request, tls: ssl.SSLContext, timeout: float) -> None:
        self._url = url
        self._request = request
        self._tls = tls
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self.answer = Answer()

    def run(self) -> Answer:
        """Run all phases."""
        host = self._url.hostname or ""
        with self._phase("resolve"):
            addresses = self._resolve(host)
        with self._phase("connect"):
            connected = self._connect(addresses)
        with connected as plain:
            if self._url.scheme == "http":
                return self._send_request(plain)
            with self._phase("tls"):
                secure = self._handshake(plain, host)
            with secure:
                return self._send_request(secure)

    def _resolve(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            missing = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
            what = "does not exist" if missing else "cannot be resolved"
            raise CheckFailed(f"name {host} {what}: {plain_reason(error)}") from error
        except UnicodeError as error:
            raise CheckFailed(f"name {host!r} cannot be one: {error}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _connect(self, addresses: list[str]) -> socket.socket:
        """Connect to the first address that accepts, as clients do."""
        errors = []
        for address in addresses:
            try:
                return socket.create_connection((address, self._port), self._left())
            except TimeoutError:
                errors.append(f"{address} port {self._port}: no answer within {self._timeout:g} s")
            except OSError as error:
                errors.append(f"{address} port {self._port}: {plain_reason(error)}")
        raise CheckFailed("; ".join(errors))

    def _handshake(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        address = plain.getpeername()[:2]
        try:
            plain.settimeout(self._left())
            secure = self._tls.wrap_socket(plain, server_hostname=host)
        except ssl.SSLError as error:
            raise CheckFailed(explain(error, address, host, min(self._left(), 5))) from error
        except OSError as error:
            raise CheckFailed(f"no TLS handshake: {self._describe(error)}") from error
        certificate = secure.getpeercert() or {}
        ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        self.answer.certificate = subject(certificate)  # type: ignore[arg-type]
        self.answer.days_left = (ends - time.time()) / 86400
        return secure

    def _send_request(self, stream: socket.socket) -> Answer:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._port)
        connection.sock = stream
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        headers = {"Host": self._url.netloc, "User-Agent": "kubeprobe-probe", "Connection": "close"}
        try:
            with self._phase("first byte"):
                stream.settimeout(self._left())
                body = self._request.body.encode() or None
                connection.request(self._request.method, target, body, {**headers, **self._request.headers})
                response = connection.getresponse()
            with self._phase("body"):
                self._read(response, stream)
        finally:
            connection.close()
        return self.answer

    def _read(self, response: http.client.HTTPResponse, stream: socket.socket) -> None:
        answer = self.answer
        answer.status, answer.reason = response.status, response.reason
        answer.location = response.getheader("Location", "") if 300 <= response.status < 400 else ""
        body = b""
        while len(body) < BODY_LIMIT:
            if stream.fileno() >= 0:  # already closed after the end of the response
                stream.settimeout(self._left())
            piece = response.read1(65536)
            if not piece:
                break
            body += piece
        answer.cut = len(body) >= BODY_LIMIT
        if response.length and not answer.cut:  # read1 also ends before the announced length
            raise CheckFailed(f"connection closed by the server amid the body, {response.length} bytes are missing")
        answer.body = body.decode(response.headers.get_content_charset("utf-8"), "replace")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Time a phase, and describe its error."""
        started = time.perf_counter()
        with step(name):
            try:
                yield
            except CheckFailed as failure:
                raise CheckFailed(*(f"{self._url.geturl()}: {text}" for text in failure.args)) from failure
            except (OSError, http.client.HTTPException, LookupError) as error:
                raise CheckFailed(f"{self._url.geturl()}: {self._describe(error)}") from error
            finally:
                self.answer.phases[name] = (time.perf_counter() - started) * 1000

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"not finished within {self._timeout:g} s"
        if isinstance(error, (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
            return "connection closed by the server without an answer"
        if isinstance(error, http.client.IncompleteRead):
            return f"connection closed by the server amid the body, after {len(error.partial)} bytes"
        if isinstance(error, http.client.HTTPException):
            return f"no HTTP answer: {type(error).__name__} {error}"
        return plain_reason(error) if isinstance(error, OSError) else str(error)

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)

    @property
    def _port(self) -> int:
        return self._url.port or _PORTS[self._url.scheme]
