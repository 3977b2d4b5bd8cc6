import re

import pytest

from probes.http_endpoint.exchange import parse_url
from probes.http_endpoint.expecting import Expected, parse_headers, parse_statuses

OK = parse_statuses(["200"])


def test_statuses_are_codes_ranges_and_classes() -> None:
    assert parse_statuses(["200", "3xx", "401-404"]) == [range(200, 201), range(300, 400), range(401, 405)]


@pytest.mark.parametrize("word", ["20", "600", "ok", "404-401", "200-"])
def test_an_invalid_status_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_statuses([word])


def test_an_invalid_header_is_reported_without_its_value() -> None:
    assert parse_headers("Accept: text/plain\n\nX-Two:a: b") == {"Accept": "text/plain", "X-Two": "a: b"}
    with pytest.raises(ValueError, match="line 2 is not a header") as refused:
        parse_headers("A: b\nno header, but a secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["web.example.com", "ftp://web", "https://", "https://web:0x", "https://web:99999/"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_url(url)


def test_a_password_in_a_url_is_refused_and_not_printed() -> None:
    with pytest.raises(ValueError, match="HEADERS") as refused:
        parse_url("https://me:hunter2@web.example.com/")
    assert "hunter2" not in str(refused.value)


def test_a_wrong_status_is_reported_with_expectation_and_start_of_the_body() -> None:
    expected = Expected(parse_statuses(["200", "3xx"]))
    assert expected.status_problem(302, "Found", "") == ""
    problem = expected.status_problem(503, "Service Unavailable", "no\n healthy   upstream")
    assert problem == "status 503 Service Unavailable, expected 200, 300-399, its body begins 'no healthy upstream'"


def test_a_body_must_contain_and_match_what_is_expected() -> None:
    assert Expected(OK, "up", re.compile("^v[0-9]+$", re.MULTILINE)).body_problem("up\nv12\n", cut=False) == ""
    assert "lacks 'up' (BODY_CONTAINS)" in Expected(OK, "up").body_problem("down", cut=False)
    wrong = Expected(OK, matches=re.compile("v[0-9]")).body_problem("x" * 500, cut=True)
    assert wrong.startswith("the part of the body that was read does not match 'v[0-9]' (BODY_MATCHES); it begins 'xxx")
    assert wrong.endswith("...'")


def test_a_phase_is_slow_only_beyond_its_own_limit() -> None:
    expected = Expected(OK, max_ms={"first byte": 100, "body": 0})
    assert expected.slow("first byte", 100) == ""
    assert expected.slow("first byte", 101) == "first byte took 101 ms, expected at most 100 ms"
    assert expected.slow("body", 9999) == expected.slow("tls", 9999) == ""
