"""The response of a server that http-endpoint, admission or node-health requests."""

from contextlib import suppress
from urllib.parse import urlsplit

from probes._http import Exchange, HttpError, body_text
from probes.http_endpoint.cookies import Cookies

LIMIT = 1 << 20
SEEDS = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;a=b\r\nhi\r\n0\r\nX: 1\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: a=b; Path=/; Expires=Wed, 25 Nov 2026 12:00:00 GMT\r\n\r\n",
    b'HTTP/1.0 200 OK\r\nX: a\r\n b\r\nContent-Type: text/html; charset="utf-8"\r\n\r\nhi',
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, deflate\r\n\r\n\x78\x9c\x03\x00\x00\x00\x00\x01",
)


def fuzz(data: bytes) -> None:
    """In pieces of any size; the first byte chooses it."""
    size = max(data[0] if data else 1, 1)
    pieces = iter([data[start : start + size] for start in range(0, len(data), size)])
    exchange = Exchange("GET", "/", [("Host", "a")])
    with suppress(HttpError):
        head = exchange.read_head(lambda: next(pieces, b""))
        url, cookies = urlsplit("http://a/"), Cookies()
        cookies.store(url, head)
        assert "\n" not in cookies.header(url)
        assert len(body_text(head, exchange.read_body(lambda: next(pieces, b""), LIMIT), LIMIT)) <= LIMIT
