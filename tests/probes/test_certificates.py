import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from probes.certificate_expiry.certificates import Finding, read_der, read_pem, sorted_problems
from probes.certificate_expiry.endpoints import EndpointError, parse, serving_certificate
from probes.certificate_expiry.tls_secrets import read_secret
from tests.probes.certificates import DAY, certificate, certificate_of_version_4, expiring_certificate, tls_server

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def problem(begins: timedelta, ends: timedelta, warn_days: float = 30) -> str:
    pem, _ = certificate("web", NOW + begins, NOW + ends, ("web.example.com", "10.0.0.1"))
    [finding] = read_pem("secret shop/web-tls", pem)
    return finding.problem(NOW, warn_days)


def test_a_long_lived_certificate_is_not_a_problem() -> None:
    assert problem(-DAY, 31 * DAY) == ""


def test_a_certificate_that_ends_soon_is_named_with_its_date_and_days_left() -> None:
    assert problem(-DAY, 7.5 * DAY) == (
        "secret shop/web-tls: CN=web (SAN web.example.com, 10.0.0.1) expires on 2026-12-01 00:00 UTC, "
        "7.5 days left (WARN_DAYS is 30)"
    )


def test_an_expired_certificate_has_its_date() -> None:
    assert problem(-40 * DAY, -2 * DAY) == (
        "secret shop/web-tls: CN=web (SAN web.example.com, 10.0.0.1) expired on 2026-11-21 12:00 UTC, 2.0 days ago"
    )


def test_a_certificate_that_is_not_valid_yet_is_named_with_its_start() -> None:
    assert "is not valid before 2026-11-25 12:00 UTC, in 2.0 days" in problem(2 * DAY, 90 * DAY)


def test_a_clock_that_is_a_minute_fast_is_not_a_problem() -> None:
    assert problem(timedelta(minutes=1), 90 * DAY) == ""


@pytest.mark.parametrize("pem", [b"", b"  \n"])
def test_an_empty_secret_is_a_problem(pem: bytes) -> None:
    [finding] = read_pem("secret a/b", pem)
    assert finding.problem(NOW, 30) == "secret a/b: no certificate: it is empty"


@pytest.mark.parametrize(
    "pem", [b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe"]
)
def test_an_invalid_certificate_is_a_problem(pem: bytes) -> None:
    [finding] = read_pem("secret a/b", pem)
    assert finding.problem(NOW, 30).startswith("secret a/b: no readable certificate: ")
    assert read_der("endpoint a:1", pem).problem(NOW, 30).startswith("endpoint a:1: no readable certificate")


def test_every_certificate_of_a_chain_is_checked() -> None:
    leaf, _ = certificate("leaf", NOW - DAY, NOW + 90 * DAY)
    issuer, _ = certificate("issuer", NOW - DAY, NOW + 3 * DAY)
    assert ["CN=issuer" in text for text in sorted_problems(read_pem("secret a/b", leaf + issuer), NOW, 30)] == [True]


def test_an_unreadable_certificate_of_a_chain_hides_no_other() -> None:
    """A real certificate whose version field says X.509 version 4."""
    own, _ = certificate("own", NOW - DAY, NOW + 3 * DAY)
    ending, _ = certificate("ending", NOW - DAY, NOW + 5 * DAY)
    broken = b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"
    problems = sorted_problems(read_pem("secret a/b", own + certificate_of_version_4("x") + broken + ending), NOW, 30)
    assert problems[0].startswith("secret a/b: certificate 2 of 4: no readable certificate: ")
    assert problems[1].startswith("secret a/b: certificate 3 of 4: no readable certificate: ")
    assert [text.split()[2] for text in problems[2:]] == ["CN=own", "CN=ending"]


def test_the_most_urgent_comes_first() -> None:
    ends = {"late": 20, "gone": -3, "soon": 2}
    findings = [Finding(name, "CN=x", NOW - 99 * DAY, NOW + days * DAY) for name, days in ends.items()]
    assert [text.split(":")[0] for text in sorted_problems(findings, NOW, 30)] == ["gone", "soon", "late"]


def test_a_long_list_of_names_is_shortened() -> None:
    pem, _ = certificate("web", NOW - DAY, NOW + DAY, tuple(f"a{number}.example.com" for number in range(9)))
    [problem] = sorted_problems(read_pem("x", pem), NOW, 30)
    assert "(SAN a0.example.com, a1.example.com, a2.example.com and 6 more)" in problem


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "no certificate: it is empty"),
        ({}, "no certificate: it is empty"),
        ({"tls.crt": "%%%"}, "no readable certificate"),
        ({"tls.crt": base64.b64encode(b"text").decode()}, "no readable certificate"),
    ],
)
def test_a_secret_without_a_certificate_is_a_problem(data, expected) -> None:
    [finding] = read_secret({"metadata": {"namespace": "shop", "name": "web-tls"}, "data": data})
    assert finding.problem(NOW, 30).startswith(f"secret shop/web-tls: {expected}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.com", ("example.com", 443)),
        ("example.com:6443", ("example.com", 6443)),
        ("10.0.0.1:10250", ("10.0.0.1", 10250)),
        ("[::1]:6443", ("::1", 6443)),
        ("::1", ("::1", 443)),
    ],
)
def test_an_endpoint_is_host_and_port(text, address) -> None:
    assert parse(text) == address


@pytest.mark.parametrize("text", ["https://example.com", "example.com:", ":443", "example.com:70000", ""])
def test_an_invalid_endpoint_is_refused_with_an_example(text) -> None:
    with pytest.raises(ValueError, match="expected host:port, such as"):
        parse(text)


def test_an_expired_server_certificate_is_read(tmp_path: Path) -> None:
    with tls_server(tmp_path, *expiring_certificate(-3, "old")) as port:
        finding = read_der(f"endpoint 127.0.0.1:{port}", serving_certificate("127.0.0.1", port))
    assert "CN=old expired on" in finding.problem(datetime.now(UTC), 30)


def test_an_unreachable_server_is_an_error_with_the_cause() -> None:
    with pytest.raises(EndpointError, match="refused"):
        serving_certificate("127.0.0.1", 1)
