"""Requests URLs and compares the answers with expectations: status, body, certificate, time of each phase.

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
from probes.http_endpoint.exchange import Answer, Exchange, Request, parse_url
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
    """Seconds for one request and its answer."""

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
    if not re.fullmatch(r"[A-Z]+", method):
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
        give_up(f"parameter BODY_MATCHES: no regular expression: {error}")
    most = {phase: number(f"MAX_{name}_MS", 0) for phase, name in PHASES.items()}
    return Expected(
        statuses, text("BODY_CONTAINS", ""), matches if matches.pattern else None, most, number("MIN_DAYS", 14)
    )


def fetch(url: SplitResult, settings: Settings) -> Answer:
    """The answer after all redirects; raises CheckFailed."""
    request = settings.request
    for _hop in range(settings.redirects + 1):
        answer = Exchange(url, request, settings.tls, settings.timeout).run()
        if not answer.location or settings.redirects == 0:
            return answer
        url, request = _redirected(url, answer, request)
    raise CheckFailed(f"{url.geturl()}: more than {settings.redirects} redirects (REDIRECTS)")


def _redirected(url: SplitResult, answer: Answer, request: Request) -> tuple[SplitResult, Request]:
    """The URL and request of a redirect; secrets are not sent to another host."""
    try:
        target = parse_url(urljoin(url.geturl(), answer.location))
    except ValueError as error:
        raise CheckFailed(f"{url.geturl()}: redirected to nowhere: {error}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise CheckFailed(f"{url.geturl()}: redirected to {target.geturl()}, which is not encrypted any more")
    headers = request.headers
    if target.netloc != url.netloc:
        secret = {"authorization", "cookie", "host"}
        headers = {name: value for name, value in headers.items() if name.lower() not in secret}
    if answer.status in (307, 308):
        return target, Request(request.method, headers, request.body)
    return target, Request("HEAD" if request.method == "HEAD" else "GET", headers)


def check(url: SplitResult, answer: Answer, expected: Expected) -> None:
    """Raise CheckFailed with all problems of an answer."""
    total = sum(answer.phases.values())
    wrong = [expected.status_problem(answer.status, answer.reason, answer.body)]
    if not wrong[0]:  # the body of an error page need not be checked
        wrong.append(expected.body_problem(answer.body, cut=answer.cut))
    if answer.days_left is not None:
        wrong.append(expected.expiry_problem(answer.certificate, answer.days_left))
    wrong += [expected.slow(phase, ms) for phase, ms in {**answer.phases, "total": total}.items()]
    if any(wrong):
        raise CheckFailed(*(f"{url.geturl()}: {problem}" for problem in wrong if problem))


def record_measurements(answer: Answer, prefix: str) -> None:
    """Milliseconds of each phase, and the certificate's days."""
    for phase, ms in {**answer.phases, "total": sum(answer.phases.values())}.items():
        measure(f"{prefix}{phase.replace(' ', '_')}_ms", round(ms, 2))
    measure(f"{prefix}status", answer.status)
    measure(f"{prefix}body_bytes", len(answer.body.encode()))
    if answer.days_left is not None:
        measure(f"{prefix}certificate_days", round(answer.days_left, 2))


def _fetch_timed(url: SplitResult, settings: Settings) -> Answer:
    with step("fetch"):
        return fetch(url, settings)


@main
def probe() -> None:
    """Request each URL, also after one has failed."""
    settings = Settings.from_environment()
    for index, url in enumerate(settings.urls, 1):
        with suppress(CheckFailed):  # recorded by its step
            answer = _fetch_timed(url, settings)
            sys.stdout.write(f"{url.geturl()}: {answer.status} {answer.reason}\n")
            record_measurements(answer, f"url{index}_" if len(settings.urls) > 1 else "")
            with step("check"):
                check(url, answer, settings.expected)
