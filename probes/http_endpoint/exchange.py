"""One request and its response, phase by phase: resolve, connect, TLS, first byte, body."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlsplit

from kubeprobe_client import CheckFailed, step

from probes import _http
from probes._http import Head, HttpError, Stream, body_text
from probes.http_endpoint.trust import explain, plain_reason, subject

BODY_LIMIT = 1 << 20
"""The maximum number of bytes that are read of a body."""
REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
"""Not quoted in paths and queries: reserved characters, and those that are quoted already."""


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
class Response:
    """The response to a request, and how long each phase took."""

    head: Head = field(default_factory=lambda: Head(0, ""))
    body: str = ""
    size: int = 0
    """Bytes of the body, as it was received."""
    undecodable: str = ""
    """Why the body cannot be read as text; empty if it can."""
    cut: bool = False
    """Whether the body was truncated."""
    phases: dict[str, float] = field(default_factory=dict)
    """Milliseconds by phase."""
    certificate: str = ""
    days_left: float | None = None
    """Days until the certificate expires; None without TLS."""

    @property
    def location(self) -> str:
        """The target of a redirect; empty if it is none."""
        return self.head.get("location").strip() if self.head.status in REDIRECTS else ""


class Exchange:
    """One request to one URL. Raises CheckFailed naming the failed phase."""

    def __init__(
        self, url: SplitResult, request: Request, tls: ssl.SSLContext, timeout: float, cookies: str = ""
    ) -> None:
        self._url = url
        self._request = request
        self._tls = tls
        self._timeout = timeout
        self._cookies = cookies
        self._deadline = time.monotonic() + timeout
        self.response = Response()

    def run(self) -> Response:
        """Run all phases."""
        with self._phase("resolve"):
            host = _ascii(self._url.hostname or "")
            addresses = self._resolve(host)
        with self._phase("connect"):
            connected = self._connect(addresses)
        with connected as plain:
            if self._url.scheme == "http":
                return self._send_request(plain, host)
            with self._phase("tls"):
                secure = self._handshake(plain, host)
            with secure:
                return self._send_request(secure, host)

    def _resolve(self, host: str) -> list[str]:
        """The host's addresses; the system's resolver has no time limit of its own, so it runs in a thread."""
        results: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

        def resolve() -> None:
            try:
                found = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
                results.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
            except OSError as error:
                results.put(error)

        threading.Thread(target=resolve, daemon=True).start()
        try:
            result = results.get(timeout=self._left())
        except queue.Empty as error:
            raise CheckFailed(f"name {host} was not resolved within {self._timeout:g} s") from error
        if isinstance(result, OSError):
            missing = result.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
            problem = "does not exist" if missing else "cannot be resolved"
            raise CheckFailed(f"name {host} {problem}: {plain_reason(result)}") from result
        return result

    def _connect(self, addresses: list[str]) -> socket.socket:
        """Connect to the first address that accepts, as clients do; each has its share of the time."""
        errors = []
        for index, address in enumerate(addresses):
            try:
                return socket.create_connection((address, self._port), self._left() / (len(addresses) - index))
            except TimeoutError:
                errors.append(f"{address} port {self._port}: no response within {self._timeout:g} s")
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
        self.response.certificate = subject(certificate)  # type: ignore[arg-type]
        self.response.days_left = (ends - time.time()) / 86400
        return secure

    def _send_request(self, connection: socket.socket, host: str) -> Response:
        path = quote(self._url.path or "/", _URL_CHARACTERS)
        target = path + (f"?{quote(self._url.query, _URL_CHARACTERS)}" if self._url.query else "")
        response = self.response
        with self._phase("first byte"):
            body = self._request.body.encode()
            exchange = _http.Exchange(self._request.method, target, self._headers(host), body)
            stream = Stream(connection, self._left())
            stream.send(exchange.request)
            response.head = exchange.read_head(stream.receive)
        with self._phase("body"):
            received = exchange.read_body(stream.receive, BODY_LIMIT)
        response.size, response.cut = len(received), len(received) >= BODY_LIMIT
        try:
            response.body = body_text(response.head, received, BODY_LIMIT)
        except HttpError as error:
            response.undecodable = str(error)
        return response

    def _headers(self, host: str) -> list[tuple[str, str]]:
        """The request's headers: those of the parameter override the others, whatever their case."""
        literal = f"[{host}]" if ":" in host else host
        headers = {
            "host": ("Host", literal if self._port == _PORTS[self._url.scheme] else f"{literal}:{self._port}"),
            "user-agent": ("User-Agent", "kubeprobe-probe"),
            "accept": ("Accept", "*/*"),
            "accept-encoding": ("Accept-Encoding", "identity"),
            **{name.lower(): (name, value) for name, value in self._request.headers.items()},
            "connection": ("Connection", "close"),
        }
        if self._cookies:
            own = headers["cookie"][1] + "; " if "cookie" in headers else ""
            headers["cookie"] = ("Cookie", own + self._cookies)
        headers.pop("content-length", None)  # it follows from the body
        return list(headers.values())

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Time a phase, and describe its error."""
        started = time.perf_counter()
        with step(name):
            try:
                yield
            except CheckFailed as failure:
                raise CheckFailed(*(f"{self._url.geturl()}: {text}" for text in failure.args)) from failure
            except (OSError, HttpError) as error:
                raise CheckFailed(f"{self._url.geturl()}: {self._describe(error)}") from error
            finally:
                self.response.phases[name] = (time.perf_counter() - started) * 1000

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"not finished within {self._timeout:g} s"
        if isinstance(error, (ConnectionResetError, BrokenPipeError)):
            return "connection closed by the server without a response"
        return plain_reason(error) if isinstance(error, OSError) else str(error)

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)

    @property
    def _port(self) -> int:
        return self._url.port or _PORTS[self._url.scheme]


def _ascii(host: str) -> str:
    """A host name as it is sent: an international one in its ASCII form (RFC 3490)."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise CheckFailed(f"name {host!r} is invalid: {error}") from error
