"""How values are formatted as text and as JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pytest
import typer

from kubeprobe.cli.arguments import duration, pairs
from kubeprobe.cli.output import Columns, ago, brief, clock_time, one_line, styled
from kubeprobe.jsonmodel import JsonModel, to_json


class Colour(StrEnum):
    """An example."""

    RED = "red"


@dataclass(frozen=True)
class Thing(JsonModel):
    """An example."""

    due_at: datetime
    took: timedelta
    colours: tuple[Colour, ...]
    labels: dict[str, str]
    nothing: None = None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0ms"),
        (0.0424, "42ms"),
        (4.21, "4.2s"),
        (42.4, "42s"),
        (59.7, "1m00s"),
        (185, "3m05s"),
        (7800, "2h10m"),
        (3 * 86400 + 3 * 3600, "3d3h"),
    ],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert brief(timedelta(seconds=seconds)) == shown


def test_times_are_shown_relative_to_now(now: datetime) -> None:
    assert ago(now - timedelta(minutes=3), now) == "3m00s ago"
    assert ago(now + timedelta(minutes=3), now) == "in 3m00s"
    assert ago(now + timedelta(milliseconds=300), now) == "0ms ago"
    assert ago(None, now) == "-"


def test_times_are_shown_in_utc() -> None:
    assert clock_time(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31 23:00:00"


def test_columns_are_aligned_without_trailing_blanks() -> None:
    lines = [line.plain for line in Columns("NAME", "STATE").lines([("a", "ok"), ("longer", styled("ready"))])]
    assert lines == ["NAME    STATE", "a       ok", "longer  ready"]


def test_columns_keep_their_widths_for_later_lines() -> None:
    columns = Columns("A", "B")
    columns.lines([("wide one", "x")])
    assert [line.plain for line in columns.lines([("a", "y")], title=False)] == ["a         y"]


def test_columns_are_as_wide_as_their_displayed_text() -> None:
    assert [line.plain for line in Columns("A", "B").lines([("日本", "x"), ("abcd", "y")])][1:] == [
        "日本  x",
        "abcd  y",
    ]


def test_messages_become_one_line() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line(None) == ""


def test_views_become_plain_json() -> None:
    thing = Thing(
        datetime(2026, 1, 1, 12, 30, 0, 5000, tzinfo=UTC), timedelta(milliseconds=1500), (Colour.RED,), {"my_key": "v"}
    )
    assert to_json([thing]) == [
        {
            "dueAt": "2026-01-01T12:30:00.005000Z",
            "took": 1.5,
            "colours": ["red"],
            "labels": {"my_key": "v"},
            "nothing": None,
        }
    ]
    assert type(to_json(thing)["colours"][0]) is str


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert pairs(["a=b=c", "d="], "label") == {"a": "b=c", "d": ""}
    for wrong in (["a"], ["=b"], ["a=1", "a=2"]):
        with pytest.raises(typer.BadParameter):
            pairs(wrong, "label")


def test_durations_are_parsed_as_in_the_catalog() -> None:
    assert duration("1h30m") == timedelta(minutes=90)
    with pytest.raises(typer.BadParameter, match="'soon' is not a duration"):
        duration("soon")
