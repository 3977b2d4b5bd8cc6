"""Requests URLs and compares the responses with expectations: status, body, certificate, time of each phase.

Parameters: URLS, METHOD, HEADERS, REQUEST_BODY, EXPECT_STATUS, BODY_CONTAINS, BODY_MATCHES, REDIRECTS, TIMEOUT,
MIN_DAYS, MAX_*_MS, CA_FILE, CA_PEM, CLIENT_CERT_FILE, CLIENT_KEY_FILE (README.md).
"""

import re
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin

from kubeprobe_client import CheckFailed, give_up, main, measure, step

from probes._parameters import number, text, words
from probes.http_endpoint.cookies import Cookies
from probes.http_endpoint.exchange import Exchange, Request, Response, parse_url
from probes.http_endpoint.expecting import Expected, parse_headers, parse_statuses
from probes.http_endpoint.trust import Trust, TrustError

PHASES = {
    "resolve": "RESOLVE",
    "connect": "CONNECT",
    "tls": "TLS",
    "first byte": "FIRST_BYTE",
    "body": "BODY",
    "total": "TOTAL",
}
"""The name of each phase in the parameters MAX_*_MS."""


@dataclass(frozen=True)
class Settings:
    """The case's parameters."""

    urls: list[SplitResult]
    request: Request
    expected: Expected
    tls: ssl.SSLContext
    redirects: int
    timeout: float
    """Seconds for one request and its response."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        try:
            urls = [parse_url(url) for url in words("URLS")]
        except ValueError as error:
            give_up(f"parameter URLS: {error}")
        if not urls:
            give_up("parameter URLS is not set: expected one or more URLs, such as https://web.example.com/healthz")
        try:
            trust = Trust(*(text(name, "") for name in ("CA_FILE", "CA_PEM", "CLIENT_CERT_FILE", "CLIENT_KEY_FILE")))
            tls = trust.context()
        except TrustError as error:
            give_up(f"parameter {error}")
        return cls(urls, _request(), _expected(), tls, round(number("REDIRECTS", 5)), number("TIMEOUT", 10))


def _request() -> Request:
    try:
        headers = parse_headers(text("HEADERS", ""))
    except ValueError as error:
        give_up(f"parameter HEADERS: {error}")
    method = text("METHOD", "GET").upper()
    if not re.fullmatch(r"[A-Z]+", method) or method == "CONNECT":  # it is for proxies
        give_up(f"parameter METHOD={method!r}: expected a method such as GET")
    return Request(method, headers, text("REQUEST_BODY", ""))


def _expected() -> Expected:
    try:
        statuses = parse_statuses(words("EXPECT_STATUS") or ["200"])
    except ValueError as error:
        give_up(f"parameter EXPECT_STATUS: {error}")
    try:
        matches = re.compile(text("BODY_MATCHES", ""), re.DOTALL | re.MULTILINE)
    except re.error as error:
        give_up(f"parameter BODY_MATCHES: invalid regular expression: {error}")
    most = {phase: number(f"MAX_{name}_MS", 0) for phase, name in PHASES.items()}
    return Expected(
        statuses, text("BODY_CONTAINS", ""), matches if matches.pattern else None, most, number("MIN_DAYS", 14)
    )


def fetch(url: SplitResult, settings: Settings) -> Response:
    """The response after all redirects; raises CheckFailed."""
    request, cookies = settings.request, Cookies()
    for _hop in range(settings.redirects + 1):
        response = Exchange(url, request, settings.tls, settings.timeout, cookies.header(url)).run()
        if not response.location or settings.redirects == 0:
            return response
        cookies.store(url, response.head)
        url, request = _redirected(url, response, request)
    raise CheckFailed(f"{url.geturl()}: more than {settings.redirects} redirects (REDIRECTS)")


def _redirected(url: SplitResult, response: Response, request: Request) -> tuple[SplitResult, Request]:
    """The URL and request of a redirect, as browsers send it; secrets are not sent to another host.

    https://fetch.spec.whatwg.org/#http-redirect-fetch
    """
    try:
        target = parse_url(urljoin(url.geturl(), response.location))
    except ValueError as error:
        raise CheckFailed(f"{url.geturl()}: invalid redirect: {error}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise CheckFailed(f"{url.geturl()}: redirected to {target.geturl()}, which is not encrypted")
    status, dropped = response.head.status, set[str]()
    if target.netloc != url.netloc:
        dropped |= {"authorization", "cookie", "host"}
    becomes_get = (status in (301, 302) and request.method == "POST") or (
        status == 303 and request.method not in ("GET", "HEAD")
    )
    if becomes_get:
        dropped |= {"content-type", "content-encoding", "content-language", "content-location"}
    headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
    return target, Request("GET", headers) if becomes_get else Request(request.method, headers, request.body)


def check(url: SplitResult, response: Response, expected: Expected) -> None:
    """Raise CheckFailed with all problems of a response."""
    total = sum(response.phases.values())
    problems = [expected.status_problem(response.head.status, response.head.reason, response.body)]
    if not problems[0] and expected.has_body:  # the body of an error page need not be checked
        problems.append(response.undecodable or expected.body_problem(response.body, cut=response.cut))
    if response.days_left is not None:
        problems.append(expected.expiry_problem(response.certificate, response.days_left))
    problems += [expected.slow(phase, ms) for phase, ms in {**response.phases, "total": total}.items()]
    if any(problems):
        raise CheckFailed(*(f"{url.geturl()}: {problem}" for problem in problems if problem))


def record_measurements(response: Response, prefix: str) -> None:
    """Milliseconds of each phase, and the certificate's days."""
    for phase, ms in {**response.phases, "total": sum(response.phases.values())}.items():
        measure(f"{prefix}{phase.replace(' ', '_')}_ms", round(ms, 2))
    measure(f"{prefix}status", response.head.status)
    measure(f"{prefix}body_bytes", response.size)
    if response.days_left is not None:
        measure(f"{prefix}certificate_days", round(response.days_left, 2))


def _fetch_timed(url: SplitResult, settings: Settings) -> Response:
    with step("fetch"):
        return fetch(url, settings)


@main
def probe() -> None:
    """Request each URL, also after one has failed."""
    settings = Settings.from_environment()
    for index, url in enumerate(settings.urls, 1):
        with suppress(CheckFailed):  # recorded by its step
            response = _fetch_timed(url, settings)
            sys.stdout.write(f"{url.geturl()}: {response.head.status} {response.head.reason}\n")
            record_measurements(response, f"url{index}_" if len(settings.urls) > 1 else "")
            with step("check"):
                check(url, response, settings.expected)
