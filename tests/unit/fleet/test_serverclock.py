"""The offset of a cluster's clock, from the dates of its responses."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.fleet.serverclock import ServerClock, read_date

NOW = datetime(2026, 11, 23, 12, 0, 0, 400_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def date(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


def measured(*responses: tuple[datetime, datetime, datetime]) -> timedelta:
    """The offset after responses: when each was made by the cluster's clock, and sent and received by ours."""
    clock = ServerClock()
    for made, sent, received in responses:
        clock.observe(date(made), sent, received)
    return clock.offset


def test_clocks_that_agree_have_no_offset() -> None:
    assert measured((NOW, NOW, NOW + SECOND)) == timedelta(0)
    assert measured() == timedelta(0)


@pytest.mark.parametrize("skew", [61, -61, 3600])
def test_the_offset_is_found_within_a_second(skew: int) -> None:
    theirs = NOW + skew * SECOND
    assert abs(measured((theirs, NOW, NOW)) - skew * SECOND) <= SECOND


def test_each_response_narrows_the_offset_and_a_clock_that_was_set_replaces_it() -> None:
    made = [NOW + 60 * SECOND + timedelta(milliseconds=130 * i) for i in range(40)]
    narrow = measured(*((m, m - 60 * SECOND, m - 60 * SECOND) for m in made))
    assert abs(narrow - 60 * SECOND) <= timedelta(milliseconds=300)
    later = NOW + 60 * SECOND
    assert measured((NOW + 60 * SECOND, NOW, NOW), (later, later, later)) == timedelta(0)


@pytest.mark.parametrize(
    "header", [None, "", "soon", "Mon, 99 Nov 2026 12:00:00 GMT", "x" * 10_000, "Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_a_header_that_is_no_plausible_date_changes_nothing(header: str | None) -> None:
    clock = ServerClock()
    clock.observe(header, NOW, NOW)
    assert clock.offset == timedelta(0)


@given(st.text(max_size=100))
def test_any_header_is_read_or_ignored(header: str) -> None:
    found = read_date(header)
    assert found is None or found.tzinfo is UTC
