"""Responses that browsers accept, byte by byte as servers send them, and those that no client accepts."""

import gzip
import socket
import ssl
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from kubeprobe_client import CheckFailed

from probes import _http
from probes.http_endpoint.exchange import BODY_LIMIT, Request, Response
from probes.http_endpoint.expecting import Expected, parse_statuses
from probes.http_endpoint.probe import Settings, check, fetch
from probes.http_endpoint.trust import Trust, TrustError
from tests.probes import http_servers
from tests.probes.certificates import Authority, expiring_certificate
from tests.probes.raw import Received, raw_server

HOST = "127.0.0.1"
SETTINGS = Settings(
    urls=[],
    request=Request(),
    expected=Expected(parse_statuses(["200"]), contains="all is up"),
    tls=ssl.create_default_context(),
    redirects=5,
    timeout=10,
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is up"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
PACKED = gzip.compress(b"all is up")
DEFLATED, RAW = zlib.compress(b"all is up"), zlib.compress(b"all is up")[2:-4]


def packed(coding: str, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n\r\n%s" % (coding.encode(), body)


def fetched(response: bytes, method: str = "GET") -> Response:
    with raw_server(lambda _request: response) as port:
        return fetch(urlsplit(f"http://{HOST}:{port}/"), replace(SETTINGS, request=Request(method)))


ACCEPTED = {
    "103 Early Hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK,
    "100, 102 and 103": b"HTTP/1.1 100\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    "empty lines behind the hints": b"HTTP/1.1 103 Early Hints\r\n\r\n\r\n\n" + OK,
    "no reason phrase": OK.replace(b" OK", b""),
    "no reason phrase, but its space": OK.replace(b"OK", b""),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nall is up",
    "no length, the end of the connection": b"HTTP/1.1 200 OK\r\n\r\nall is up",
    "chunks": CHUNKED + b"\r\n4\r\nall \r\n5;a=b\r\nis up\r\n0\r\n\r\n",
    "chunks with trailers": CHUNKED + b"Trailer: X\r\n\r\n9\r\nall is up\r\n0\r\nX: 1\r\nY: 2\r\n\r\n",
    "chunks and a length": CHUNKED + b"Content-Length: 5\r\n\r\n9\r\nall is up\r\n0\r\n\r\n",
    "the same length twice": OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"),
    "the same length twice in a line": OK.replace(b": 9", b": 9, 9"),
    "more than the length": OK + b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a folded header": OK.replace(b"Content", b"X-Folded: a\r\n  b\r\n\tc\r\nContent", 1),
    "lines that are not headers": OK.replace(b"Content", b"no header\r\nTwo Words: a\r\n: b\r\nContent", 1),
    "a space before the colon": OK.replace(b"Content-Length:", b"Content-Length :"),
    "a Latin-1 header": OK.replace(b"Content", b"X-Name: M\xfcller\r\nContent", 1),
    "bare line feeds": OK.replace(b"\r\n", b"\n"),
    "empty lines first": b"\r\n" + OK,
    "Transfer-Encoding: identity": OK.replace(b"Content-Length: 9", b"Transfer-Encoding: identity"),
    "gzip": packed("gzip", PACKED),
    "x-gzip": packed("x-gzip", PACKED),
    "deflate": packed("deflate", DEFLATED),
    "deflate without zlib's header": packed("deflate", RAW),
    "gzip twice": packed("gzip, gzip", gzip.compress(PACKED)),
    "an unknown charset": OK.replace(b"Content", b"Content-Type: text/plain; charset=x-none\r\nContent", 1),
    "a charset that is no text": OK.replace(b"Content", b"Content-Type: text/plain; charset=hex\r\nContent", 1),
    "UTF-16": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n" + "all is up".encode("utf-16"),
    "UTF-8 with a byte order mark": b"HTTP/1.1 200 OK\r\n\r\n\xef\xbb\xbfall is up",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_response_that_browsers_accept_passes(name: str) -> None:
    response = fetched(ACCEPTED[name])
    assert (response.head.status, response.body) == (200, "all is up")
    check(urlsplit("http://a/"), response, SETTINGS.expected)


REFUSED = {
    "another length": (OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 8\r\n\r\n"), "conflicting Content-Length"),
    "an incomplete body": (OK[:-4], "connection closed by the server within the body, after 5 bytes"),
    "incomplete chunks": (CHUNKED + b"\r\n4\r\nall ", "connection closed by the server within the body, after 4 bytes"),
    "an invalid chunk": (CHUNKED + b"\r\nall is up\r\n", "invalid HTTP response: illegal chunk header"),
    "an incomplete head": (b"HTTP/1.1 200 OK\r\nContent", "connection closed by the server within the headers"),
    "nothing": (b"", "connection closed by the server without a response"),
    "an invalid status": (b"HTTP/1.1 2000 OK\r\n\r\n", "invalid HTTP response: illegal status line"),
    "only hints": (b"HTTP/1.1 103 Early Hints\r\n\r\n", "connection closed by the server without a response"),
    "endless hints": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200, "more than 100 informational ones"),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "invalid HTTP response"),
    "a head without end": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000, "more than 262144 bytes of headers"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x16", "no HTTP response: it begins"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_response_that_no_client_accepts_is_a_failure(name: str) -> None:
    response, problem = REFUSED[name]
    with pytest.raises(CheckFailed) as failed:
        fetched(response)
    assert problem in str(failed.value)


@pytest.mark.parametrize(
    ("response", "method"),
    [
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", "GET"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET"),
        (OK[: -len("all is up")], "HEAD"),
    ],
)
def test_a_response_that_never_has_a_body_ends_with_its_head(response: bytes, method: str) -> None:
    assert fetched(response, method).body == ""


def test_a_body_in_an_unknown_encoding_is_a_problem_only_if_something_is_expected_of_it() -> None:
    response = fetched(packed("br", b"..."))
    check(urlsplit("http://a/"), response, replace(SETTINGS.expected, contains=""))
    with pytest.raises(CheckFailed, match="the body has the Content-Encoding 'br', expected gzip, deflate or none"):
        check(urlsplit("http://a/"), response, SETTINGS.expected)
    with pytest.raises(CheckFailed, match="the body is not gzip, though its Content-Encoding is"):
        check(urlsplit("http://a/"), fetched(packed("gzip", b"all is up")), SETTINGS.expected)


def test_a_packed_body_is_unpacked_to_its_limit_only() -> None:
    assert len(fetched(packed("gzip", gzip.compress(bytes(50 * BODY_LIMIT)))).body) == BODY_LIMIT


def test_a_response_before_the_end_of_the_request_counts() -> None:
    def refuse(_request: Received) -> bytes:
        return b"HTTP/1.1 413 Content Too Large\r\n\r\n"

    with raw_server(refuse, read_body=False) as port:
        request = Request("POST", body="x" * 20_000_000)
        assert fetch(urlsplit(f"http://{HOST}:{port}/"), replace(SETTINGS, request=request)).head.status == 413


def test_a_slow_body_is_ended_by_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its bytes arrives a second after the one before, and the whole response may take ten."""
    seconds, ended = [0.0], threading.Event()
    monkeypatch.setattr(_http, "time", SimpleNamespace(monotonic=lambda: seconds[0]))

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not ended.wait(0.01):
                seconds[0] += 1
                connection.sendall(b".")

    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor() as pool:
        pool.submit(drip, listener)
        with pytest.raises(CheckFailed, match="not finished within 10 s"):
            fetch(urlsplit(f"http://{HOST}:{listener.getsockname()[1]}/"), SETTINGS)
        ended.set()
    assert seconds[0] >= 10


def test_a_cookie_set_by_a_redirect_is_sent_after_it() -> None:
    def log_in(request: http_servers.Request) -> http_servers.Response:
        if request.headers.get("cookie") == "own=1; session=a":
            return http_servers.Response(200, b"all is up")
        return http_servers.Response(
            302, headers={"Location": request.path, "Set-Cookie": "session=a; Path=/; HttpOnly; SameSite=Lax"}
        )

    with http_servers.http_server(log_in) as port:
        settings = replace(SETTINGS, request=Request(headers={"Cookie": "own=1"}))
        assert fetch(urlsplit(f"http://{HOST}:{port}/"), settings).body == "all is up"


def test_a_cookie_is_not_sent_to_another_host_or_path() -> None:
    received: list[str | None] = []

    def log_in(request: http_servers.Request) -> http_servers.Response:
        received.append(request.headers.get("cookie"))
        if request.path == "/":
            return http_servers.Response(
                302, headers={"Location": "/private/a", "Set-Cookie": "session=a; Path=/other"}
            )
        return http_servers.Response(302, headers={"Location": f"http://localhost:{port}/b", "Set-Cookie": "second=b"})

    with http_servers.http_server(log_in) as port, pytest.raises(CheckFailed, match="more than 2 redirects"):
        fetch(urlsplit(f"http://{HOST}:{port}/"), replace(SETTINGS, redirects=2))
    assert received == [None, None, None]


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [(301, "POST", "GET"), (302, "PUT", "PUT"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (307, "POST", "POST")],
)
def test_a_redirect_keeps_or_changes_the_method_as_in_browsers(status: int, method: str, becomes: str) -> None:
    received: list[http_servers.Request] = []

    def redirect(request: http_servers.Request) -> http_servers.Response:
        received.append(request)
        return (
            http_servers.Response(200)
            if len(received) > 1
            else http_servers.Response(status, headers={"Location": "?again"})
        )

    with http_servers.http_server(redirect) as port:
        request = Request(method, {"content-type": "text/plain"}, "body" if method != "HEAD" else "")
        fetch(urlsplit(f"http://{HOST}:{port}/here"), replace(SETTINGS, request=request))
    last = received[-1]
    assert (last.method, last.path) == (becomes, "/here?again")
    assert (last.body, "content-type" in last.headers) == (
        (b"", method == "HEAD") if becomes != method or method == "HEAD" else (b"body", True)
    )


@pytest.mark.parametrize("status", [300, 304])
def test_only_redirects_are_followed(status: int) -> None:
    response = b"HTTP/1.1 %d -\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status
    assert fetched(response).head.status == status


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/b c", b"/b%20c"),
        ("/caf\u00e9", b"/caf%C3%A9"),
        ("//127.0.0.1:{port}/b#part", b"/b"),
        ("../b?c=%20&d", b"/b?c=%20&d"),
        ("", b"/a/"),
    ],
)
def test_a_location_may_be_relative_and_hold_any_character(location: str, path: bytes) -> None:
    received: list[Received] = []

    def redirect(request: Received) -> bytes:
        received.append(request)
        target = location.replace("{port}", str(port)).encode()
        return OK if len(received) > 1 or not target else b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n" % target

    with raw_server(redirect) as port:
        fetch(urlsplit(f"http://{HOST}:{port}/a/"), SETTINGS)
    assert received[-1].target == path


def test_headers_of_the_case_replace_the_probes_own_whatever_their_case() -> None:
    received: list[Received] = []

    def answer(request: Received) -> bytes:
        received.append(request)
        return OK

    with raw_server(answer) as port:
        headers = {"host": "web.example.com", "USER-AGENT": "mine", "Content-Length": "7"}
        fetch(urlsplit(f"http://{HOST}:{port}/"), replace(SETTINGS, request=Request("POST", headers, "four")))
    lines = [line.lower() for line in received[0].head.split(b"\r\n")]
    assert [line for line in lines if line.startswith((b"host:", b"user-agent:", b"content-length:"))] == [
        b"host: web.example.com",
        b"user-agent: mine",
        b"content-length: 4",
    ]


def test_an_intermediate_among_the_cas_is_trusted() -> None:
    middle = Authority.make("middle", Authority.make("root"))
    with http_servers.http_server(
        lambda _request: http_servers.Response(200, b"all is up"), pem=b"".join(middle.issue((HOST,)))
    ) as port:
        settings = replace(SETTINGS, tls=Trust(ca_pem=middle.pem.decode()).context())
        assert fetch(urlsplit(f"https://{HOST}:{port}/"), settings).body == "all is up"


def test_a_client_key_with_a_passphrase_is_refused_without_a_prompt(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    pem, key = expiring_certificate(90)
    encrypted = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "tls.pem").write_bytes(pem + encrypted)
    with pytest.raises(TrustError, match="CLIENT_CERT_FILE or CLIENT_KEY_FILE cannot be used"):
        Trust(client_file=str(tmp_path / "tls.pem")).context()
