"""The cookies that servers set on the way to the final response: many set one with a redirect, and expect it after."""

from email.message import Message
from typing import TYPE_CHECKING
from urllib.parse import SplitResult

from probes._http import Head

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from http.cookiejar import CookieJar
    from urllib.request import Request

COOKIE_LIMIT = 8192
"""Characters of one Set-Cookie; browsers ignore a cookie of more than 4,096 bytes."""
COOKIES_LIMIT = 180
"""Cookies of one response; Chrome's limit for a domain."""


class _Headers:
    """What `http.cookiejar` takes of a response."""

    def __init__(self, values: list[str]) -> None:
        self._message = Message()
        for value in values:
            self._message["Set-Cookie"] = value

    def info(self) -> Message:
        """The headers."""
        return self._message


class Cookies:
    """A jar for one sequence of redirects; each cookie is sent to the hosts and paths that it is for."""

    def __init__(self) -> None:
        self._jar: CookieJar | None = None

    def store(self, url: SplitResult, head: Head) -> None:
        """Store the cookies of a response."""
        values = [value for value in head.all("set-cookie") if len(value) <= COOKIE_LIMIT][:COOKIES_LIMIT]
        if not values:
            return
        if self._jar is None:
            from http.cookiejar import CookieJar  # noqa: PLC0415 (takes 20 ms)

            self._jar = CookieJar()
        response: HTTPResponse = _Headers(values)  # type: ignore[assignment]
        self._jar.extract_cookies(response, _request(url))

    def header(self, url: SplitResult) -> str:
        """The value of the Cookie header for a URL; empty if there is none."""
        if self._jar is None:
            return ""
        request = _request(url)
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie", "") or ""


def _request(url: SplitResult) -> "Request":
    from urllib.request import Request  # noqa: PLC0415 (takes 20 ms)

    return Request(url.geturl())  # noqa: S310 - it is not opened
