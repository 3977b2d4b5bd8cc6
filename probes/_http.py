"""HTTP/1.1 over an open connection, as browsers take it: `h11` parses, and everything is bounded.

Python's http.client takes `103 Early Hints` for the response. h11 also knows chunked bodies with trailers, folded
headers, repeated lengths, bodies that end with the connection, responses without one (HEAD, 204, 304), and HTTP/1.0.
"""

import re
import ssl
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile
from socket import socket

import h11

HEAD_LIMIT = 256 << 10
"""Bytes of status line and headers; Chrome's limit as well."""
_INFORMATIONAL_LIMIT = 100  # responses 1xx before the final one
_PIECE = 65536
_EXCERPT = 40  # bytes of an invalid response in an error
_REASON = 200  # characters of h11's reason in an error
_VERSION = b"HTTP/"
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_HEADER = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:(?P<value>.*)")

Receive = Callable[[], bytes]
"""Returns the next bytes of a connection, none at its end; raises OSError."""


class HttpError(Exception):
    """The response is not valid HTTP, incomplete, or in an unknown encoding; the text is the cause."""


@dataclass(frozen=True)
class Head:
    """Status and headers of a response."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case."""

    def all(self, name: str) -> list[str]:
        """All values of a header; `name` in lower case."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str:
        """The first value of a header; empty without one."""
        return next(iter(self.all(name)), "")


class Stream:
    """A connected socket, and the time limit of everything that is sent and received over it, in seconds."""

    def __init__(self, connection: socket, seconds: float) -> None:
        self._socket = connection
        self._deadline = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        """Send all; a server that closes the connection meanwhile may have responded already (RFC 9112, 9.5)."""
        self._limit()
        with suppress(ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._socket.sendall(data)

    def receive(self) -> bytes:
        """Receive a piece; raises TimeoutError and other OSErrors."""
        self._limit()
        return self._socket.recv(_PIECE)

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


class Exchange:
    """One request on a connection of its own, and its response. Raises HttpError."""

    def __init__(self, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> None:
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._received = bytearray()
        length = [("Content-Length", str(len(body)))] if body or method in ("POST", "PUT", "PATCH") else []
        encoded = [(name.encode(), value.encode()) for name, value in [*headers, *length]]
        try:
            request = h11.Request(method=method.encode(), target=target.encode(), headers=encoded)
            parts = [self._connection.send(request)]
            parts += [self._connection.send(h11.Data(data=body))] if body else []
            parts.append(self._connection.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise HttpError(f"invalid request: {error}") from error
        self.request = b"".join(part or b"" for part in parts)
        """What must be sent."""

    def read_head(self, receive: Receive) -> Head:
        """The final response's head; informational responses (1xx) are skipped. Also raises what `receive` raises."""
        for _response in range(_INFORMATIONAL_LIMIT):
            self._connection.receive_data(self._next_head(receive))
            event = self._next_event()
            if isinstance(event, h11.Response):
                if self._received:
                    self._connection.receive_data(bytes(self._received))
                headers = tuple((name.decode("ascii"), _text(value)) for name, value in event.headers)
                return Head(event.status_code, event.reason.decode("latin-1"), headers)
            if not isinstance(event, h11.InformationalResponse):
                raise HttpError("invalid HTTP response: the connection was switched to another protocol")
        raise HttpError(f"invalid HTTP response: more than {_INFORMATIONAL_LIMIT} informational ones (1xx)")

    def read_body(self, receive: Receive, limit: int) -> bytes:
        """The body, at most `limit` bytes of it; also raises what `receive` raises."""
        body = bytearray()
        ended = False
        while len(body) < limit:
            try:
                event = self._next_event()
            except HttpError as error:
                if ended:
                    missing = f"connection closed by the server within the body, after {len(body)} bytes"
                    raise HttpError(missing) from error
                raise
            if event is h11.NEED_DATA:
                data = receive()
                ended = not data
                self._connection.receive_data(data)
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        return bytes(body[:limit])

    def _next_event(self) -> object:
        try:
            return self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise HttpError(f"invalid HTTP response: {str(error)[:_REASON]}") from error

    def _next_head(self, receive: Receive) -> bytes:
        """The next status line and headers, without what browsers ignore and h11 refuses."""
        searched = 0
        while True:
            if self._received.startswith((b"\r", b"\n")):
                self._received = self._received.lstrip(b"\r\n")
            if not _is_http(self._received):
                begins = self._received[:_EXCERPT].decode("latin-1").strip()
                raise HttpError(f"no HTTP response: it begins {begins!r}")
            if end := _HEAD_END.search(self._received, searched):
                break
            if len(self._received) > HEAD_LIMIT:
                raise HttpError(f"invalid HTTP response: more than {HEAD_LIMIT} bytes of headers")
            searched = max(len(self._received) - 3, 0)
            data = receive()
            if not data:
                where = "within the headers" if self._received else "without a response"
                raise HttpError(f"connection closed by the server {where}")
            self._received += data
        head = bytes(self._received[: end.start()])
        del self._received[: end.end()]
        status_line, *lines = head.splitlines()
        headers = dropwhile(_is_continuation, filter(None, map(_header_line, lines)))
        return b"\r\n".join([status_line, *headers, b"", b""])


def _is_http(received: bytearray) -> bool:
    """Judged by the first bytes: other protocols may wait for an answer, and never end."""
    return received[: len(_VERSION)] == _VERSION[: len(received)]


def _header_line(line: bytes) -> bytes:
    """A header's line, or the continuation of one; empty if browsers ignore it."""
    if _is_continuation(line):
        return line
    found = _HEADER.match(line)
    if not found or (found["name"].lower() == b"transfer-encoding" and found["value"].strip().lower() == b"identity"):
        return b""
    return found["name"] + b":" + found["value"]


def _is_continuation(line: bytes) -> bool:
    return line[:1] in (b" ", b"\t")


def _text(value: bytes) -> str:
    """A header's value: UTF-8, as browsers take it, or else Latin-1, as old servers send it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)
# Not all of Python's codecs: some are no text (hex), one takes quadratic time (punycode).
_TEXT_ENCODING = re.compile(
    r"us-ascii|ascii|utf-?8|utf-?16(le|be)?|iso-?8859-\d{1,2}|latin-?1|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|macintosh"
    r"|gbk|gb2312|gb18030|big5|euc-jp|euc-kr|shift[_-]jis|iso-2022-jp",
    re.IGNORECASE,
)


def body_text(head: Head, body: bytes, limit: int) -> str:
    """A body as text, unpacked by its Content-Encoding (to at most `limit` bytes); raises HttpError."""
    for coding in reversed(re.split(r"[,\s]+", ",".join(head.all("content-encoding")).lower().strip(", "))):
        body = _unpacked(coding, body, limit)
    found = _CHARSET.search(head.get("content-type"))
    encoding = found[1] if found and _TEXT_ENCODING.fullmatch(found[1]) else "utf-8"
    try:
        return body.decode(encoding, "replace").removeprefix("\ufeff")
    except LookupError:
        return body.decode("utf-8", "replace").removeprefix("\ufeff")


def _unpacked(coding: str, body: bytes, limit: int) -> bytes:
    if coding in ("", "identity") or not body:
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise HttpError(f"the body has the Content-Encoding {coding[:40]!r}, expected gzip, deflate or none")
    # deflate: with zlib's header (RFC 9110, 8.4.1.2), or without, as some servers send it.
    for window in (47, -15) if coding == "deflate" else (47,):
        with suppress(zlib.error):
            return zlib.decompressobj(window).decompress(body, limit)
    raise HttpError(f"the body is not {coding}, though its Content-Encoding is")
