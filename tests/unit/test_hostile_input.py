"""Long hostile input is refused or read, in linear time: a reader that backtracks takes minutes here."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kubeprobe.catalog.model import RouteTarget
from kubeprobe.catalog.model.base import LabelSelector, Name, parse_duration
from kubeprobe.catalog.model.rule import Rule
from kubeprobe.catalog.times import check_cron, check_time_zone
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet.labels import key_problem, name_problem, node_problem, value_problem
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.fleet.translation import from_response
from kubeprobe.names import nearest
from kubeprobe.response.shorten import shorten
from kubeprobe.response.targets.posting import parse_retry_after
from kubeprobe.response.targets.secret import redact
from kubeprobe.sources.address import check_branch, check_path, parse_address

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
LENGTH = 40_000
UNITS = [
    "{", "{{", "}", "(", "[", "a", "A", "0", "-", ".", "_", "/", ":", "@", " ", "\t", "\n", ",", "=", "!", "*", "$(",
    "'", '"', "\\", "a.", "a-", "a=b,", "a in (", "*/", "1-", "1,", "H", "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "\N{GRINNING FACE}", "\0", "\x1b", "1d", "1e", "x:y@", "//", "?", "#",
]  # fmt: skip
ENDS = ["", "\0!"]


def _rule(**fields: str) -> Rule:
    return Rule.model_validate({"resource": "v1/pods", "expect": "true", "message": "x", **fields})


READERS: dict[str, Callable[[str], Any]] = {
    "a rule's message": lambda text: _rule(message=text),
    "an expression in a message": lambda text: _rule(message="{{" + text + "}}"),
    "a rule's condition": lambda text: _rule(expect=text),
    "a resource": lambda text: _rule(resource=text),
    "a name": TypeAdapter(Name).validate_python,
    "a label selector": lambda text: LabelSelector.model_validate({"matchLabels": {text: text}}),
    "a webhook's address": lambda text: RouteTarget.model_validate(
        {"name": "x", "webhook": {"url": "https://" + text}}
    ),
    "a duration": parse_duration,
    "a cron expression": check_cron,
    "a time zone": check_time_zone,
    "a selector": parse_selector,
    "labels": lambda text: [problem(text) for problem in (name_problem, node_problem, key_problem, value_problem)],
    "a response of a cluster": lambda text: from_response(429, text.encode(errors="replace"), retry_after=text),
    "an address of a source": parse_address,
    "a short address of a source": lambda text: parse_address(text[:1000]),
    "a branch": check_branch,
    "a path": check_path,
    "a misspelt name": lambda text: nearest(text, ["pod-lifecycle", "dns", "a" * 63]),
    "Retry-After": lambda text: parse_retry_after(text, NOW),
    "a redacted text": lambda text: redact(text, "json://" + text),
    "a shortened text": lambda text: shorten(text, 2000),
}


@pytest.mark.parametrize("reader", READERS)
def test_hostile_input_is_read_or_refused(reader: str) -> None:
    for unit in UNITS:
        for end in ENDS:
            try:
                READERS[reader]((unit * LENGTH)[:LENGTH] + end)
            except (ValueError, KubeProbeError):
                continue


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("9" * 60, 86_400),
        ("9" * 40_000, 86_400),
        ("Mon, 30 Nov 2026 12:01:30 GMT", 90),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Mon, 30 Nov 2026 12:01:30 -0000", 90),
        ("1e12", None),
        ("-5", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("1.5", None),
        ("nan", None),
        ("", None),
        (None, None),
        ("soon", None),
    ],
)
def test_retry_after_is_capped_and_never_negative(value: str | None, seconds: int | None) -> None:
    assert parse_retry_after(value, NOW) == (None if seconds is None else timedelta(seconds=seconds))


@given(
    st.one_of(
        st.text(max_size=80), st.datetimes().map(lambda at: f"{at:%a, %d %b %Y %H:%M:%S} GMT"), st.integers().map(str)
    )
)
def test_any_retry_after_is_a_pause_of_a_day_at_most_or_none(value: str) -> None:
    found = parse_retry_after(value, NOW)
    assert found is None or timedelta() <= found <= timedelta(days=1)
