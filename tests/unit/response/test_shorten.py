"""What is too long for a service is cut, with a mark, and keeps its end."""

from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qsl

import orjson
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.catalog.model.route import AppriseTarget
from kubeprobe.response.message import MAX_WHY_LENGTH, explanation
from kubeprobe.response.shorten import shorten, utf16_length
from kubeprobe.response.targets import Delivery, apprise
from kubeprobe.vocabulary import Verdict
from tests.unit.response.given import NOON, message, outcome

DELIVERY = Delivery("01delivery", 1, NOON)
SERVICES = {
    "discord": ("discord://123456789012345678/abcdefghijklmnopqrstuvwxyz", 2000),
    "telegram": ("tgram://123456789:abcdefg_hijklmnop/12345/", 4096),
    "pushover": (f"pover://{'a' * 30}@{'b' * 30}", 1024),
    "slack": ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", 35_000),
}
LONG = {"errors": tuple(f"{number}: <pod> & *other* {'é😀' * 190}" for number in range(200))}


@given(st.text(max_size=300), st.integers(0, 320))
def test_a_shortened_text_is_within_its_limit(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert utf16_length(short) <= limit
    assert (short == text) is (utf16_length(text) <= limit) or not text


def test_the_beginning_and_the_last_lines_are_kept() -> None:
    sent = message(**LONG).text
    short = shorten(sent, 2000)
    assert short.startswith("ReportedFailure: the probe reported 1 error\n- 0: <pod>")
    assert f"… [cut: {len(sent)} characters in all]" in short
    assert short.endswith("\nDetails: kubeprobe show 01run")


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_gets_no_more_than_it_accepts(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address, limit = SERVICES[service]
    sent: list[str] = []

    def answer(_self: Any, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        sent.append(str(request.body if isinstance(request.body, str) else (request.body or b"").decode()))
        response = requests.Response()
        response.status_code, response._content, response.raw = (
            200,
            b"ok" if service == "slack" else b'{"ok": true}',
            Mock(),
        )
        return response

    monkeypatch.setattr(requests.Session, "send", answer)
    apprise.send(AppriseTarget(url=address), message(**LONG), DELIVERY)
    assert len(sent) == 1, "one message, not cut into many"
    text = max(_strings(sent[0]), key=utf16_length)
    assert limit * 0.8 < utf16_length(text) <= limit
    assert "[cut: " in text
    assert "kubeprobe show 01run" in text


def test_a_long_message_of_an_outcome_is_cut() -> None:
    why = explanation(outcome(Verdict.UNKNOWN, message="x" * 100_000))
    assert len(why) <= MAX_WHY_LENGTH
    assert "[cut: 100000 characters in all]" in why


def _strings(body: str) -> list[str]:
    """All strings in a body of JSON, or the fields of a form."""

    def walk(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, dict):
            return [text for each in value.values() for text in walk(each)]
        return [text for each in value for text in walk(each)] if isinstance(value, list) else []

    return walk(orjson.loads(body)) if body.startswith("{") else [value for _, value in parse_qsl(body)]
