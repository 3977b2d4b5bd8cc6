"""Due times: aligned intervals, cron across daylight saving, a flat and predictable spread."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from kubeprobe.catalog import times
from kubeprobe.catalog.times import check_cron, check_time_zone, due_between, due_times, next_due, spread_offset

BERLIN = "Europe/Berlin"
ZONES = (
    BERLIN,
    "UTC",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "America/Havana",
)


@dataclass(frozen=True)
class Every:
    every_s: int | None = None
    cron: str | None = None
    timezone: str = "UTC"
    offset_s: float = 0.0


def cron(expression, zone=BERLIN, offset_s=0.0):
    return Every(cron=expression, timezone=zone, offset_s=offset_s)


def local_times(timing, after, until):
    """Due times in (after, until] on the wall clock, as `25 02:30+0200`."""
    zone = ZoneInfo(timing.timezone)
    dues = takewhile(lambda due: due <= until, due_times(timing, after))
    return [due.astimezone(zone).strftime("%d %H:%M%z") for due in dues]


AUTUMN = (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 26, 12, tzinfo=UTC))
SPRING = (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC))


def test_a_fixed_time_in_the_repeated_hour_is_due_once_at_its_first_occurrence():
    assert local_times(cron("30 2 * * *"), *AUTUMN) == ["25 02:30+0200", "26 02:30+0100"]


def test_croniter_itself_is_still_wrong_about_the_repeated_hour():
    """When this fails, croniter has fixed it and `times` can become simpler."""
    times = croniter("30 2 * * *", AUTUMN[0].astimezone(ZoneInfo(BERLIN)))
    assert [times.get_next(datetime).day for _ in range(2)] == [25, 25]


def test_a_fixed_time_in_the_skipped_hour_is_due_once_right_after_the_gap():
    assert local_times(cron("30 2 * * *"), *SPRING) == ["29 03:00+0200", "30 02:30+0200"]


def test_several_skipped_times_and_one_at_the_gaps_end_are_due_once_together():
    assert local_times(cron("0,20,40 2 * * *"), *SPRING)[0:1] == ["29 03:00+0200"]
    assert local_times(cron("30 2,3 * * *"), *SPRING)[:2] == ["29 03:00+0200", "29 03:30+0200"]
    assert local_times(cron("0 2,3 29 3 *"), *SPRING) == ["29 03:00+0200"]


def test_an_hourly_schedule_loses_nothing_in_the_gap():
    dues = list(islice(due_times(cron("*/15 * * * *"), datetime(2026, 3, 29, tzinfo=UTC)), 12))
    assert {later - earlier for earlier, later in pairwise(dues)} == {timedelta(minutes=15)}


def test_an_hourly_schedule_is_due_in_both_passes_of_the_repeated_hour():
    found = local_times(
        cron("30 * * * *"), datetime(2026, 10, 24, 23, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC)
    )
    assert found == ["25 01:30+0200", "25 02:30+0200", "25 02:30+0100"]


def test_a_long_wait_over_a_change_of_the_offset_ends_at_the_right_wall_clock_time():
    found = next_due(cron("*/30 * 1 12 *"), datetime(2026, 7, 1, tzinfo=UTC))
    assert found.astimezone(ZoneInfo(BERLIN)).isoformat() == "2026-12-01T00:00:00+01:00"


def test_a_repeated_midnight_in_havana_is_due_once():
    """Cuba goes from 01:00 back to 00:00 on 2026-11-01."""
    zone = "America/Havana"
    found = local_times(
        cron("0 0 * * *", zone), datetime(2026, 10, 31, 12, tzinfo=UTC), datetime(2026, 11, 2, 12, tzinfo=UTC)
    )
    assert found == ["01 00:00-0400", "02 00:00-0500"]


def test_an_interval_is_aligned_to_the_epoch_and_shifted_by_the_offset():
    after = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert next_due(Every(every_s=300), after) == datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    assert next_due(Every(every_s=300, offset_s=61.5), after) == datetime(2026, 1, 1, 0, 1, 1, 500_000, tzinfo=UTC)


def test_a_due_time_itself_is_not_due_again():
    due = next_due(Every(every_s=60, offset_s=0.1), datetime(2026, 1, 1, tzinfo=UTC))
    assert next_due(Every(every_s=60, offset_s=0.1), due) == due + timedelta(seconds=60)


def test_due_times_after_an_outage_are_counted_with_the_latest():
    after, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 6, 1, tzinfo=UTC)
    assert due_between(Every(every_s=3600), after, until) == (6, datetime(2026, 1, 1, 6, tzinfo=UTC))
    assert due_between(cron("0 * * * *", "UTC"), after, until) == (6, datetime(2026, 1, 1, 6, tzinfo=UTC))
    assert due_between(Every(every_s=86_400), after, until) == (0, None)
    assert due_between(cron("0 12 * * *", "UTC"), after, until) == (0, None)


def test_cron_is_shifted_by_its_offset():
    found = next_due(cron("30 2 * * *", offset_s=90.5), datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert found == datetime(2026, 10, 25, 0, 31, 30, 500_000, tzinfo=UTC)


def test_a_timing_without_interval_and_cron_is_rejected():
    with pytest.raises(ValueError, match="neither every_s nor cron"):
        next_due(Every(), datetime(2026, 1, 1, tzinfo=UTC))


fields = st.tuples(
    st.sampled_from(["*", "*/5", "*/15", "0", "30", "7,37", "10-20/5", "59"]),
    st.sampled_from(["*", "*/2", "*/6", "0", "1", "2", "3", "1-3", "0,12", "23"]),
    st.sampled_from(["*", "*", "1", "25", "28-31", "*/2"]),
    st.sampled_from(["*", "*", "3", "10", "3,10"]),
    st.sampled_from(["*", "*", "0", "sun", "1-5"]),
)
moments = st.integers(0, 2 * 365 * 86_400).map(
    lambda second: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
)


@settings(deadline=None, max_examples=60)
@given(fields, st.sampled_from(ZONES), moments, st.floats(0, 3600))
def test_due_times_of_any_cron_increase_strictly_and_are_deterministic(parts, zone, after, offset_s):
    timing = cron(" ".join(parts), zone, offset_s)
    dues = list(islice(due_times(timing, after), 5))
    assert all(earlier < later for earlier, later in pairwise([after, *dues]))
    assert all(due.tzinfo is UTC for due in dues)
    assert dues == list(islice(due_times(timing, after), 5))
    assert next_due(timing, dues[0] - timedelta(microseconds=1)) == dues[0]


@settings(deadline=None)
@given(st.integers(1, 10_000_000), st.floats(0, 100_000), moments)
def test_due_times_of_any_interval_are_one_interval_apart(every_s, offset_s, after):
    timing = Every(every_s=every_s, offset_s=offset_s)
    due = next_due(timing, after)
    assert after < due <= after + timedelta(seconds=every_s)
    assert next_due(timing, due) == due + timedelta(seconds=every_s)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", [datetime(2026, *day, tzinfo=UTC) for day in ((3, 8), (3, 29), (4, 5), (10, 25))])
@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("*/20 * * * *", lambda wall: wall.minute % 20 == 0),
        ("7 * * * 0", lambda wall: wall.minute == 7 and wall.isoweekday() == 7),
    ],
)
def test_an_hourly_schedule_is_due_in_each_minute_whose_wall_clock_time_matches(expression, fits, zone, day):
    start = day - timedelta(hours=12)
    minutes = [start + timedelta(minutes=number) for number in range(1, 48 * 60)]
    fitting = [minute for minute in minutes if fits(minute.astimezone(ZoneInfo(zone)))]
    assert list(islice(due_times(cron(expression, zone), start), len(fitting))) == fitting


@pytest.mark.parametrize("zone", [BERLIN, "Australia/Lord_Howe", "America/Havana"])
@pytest.mark.parametrize("expression", ["0 0 * * *", "30 2 * * *"])
def test_a_daily_schedule_is_due_once_on_each_day(expression, zone):
    start, end = (datetime(year, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC) for year in (2026, 2027))
    second = timedelta(seconds=1)
    count, _ = due_between(cron(expression, zone), start - second, end - second)
    assert count == 365


@settings(deadline=None, max_examples=60)
@given(
    expression=st.one_of(
        fields.map(" ".join), st.sampled_from(["@hourly", "@daily", "@weekly", "30 2 l * *", "* 23 * * mon#2"])
    ),
    zone=st.sampled_from(ZONES),
    after=moments,
    minutes=st.integers(0, 5 * 24 * 60),
)
@example("* * * * *", BERLIN, datetime(2026, 10, 24, tzinfo=UTC), 3 * 24 * 60)
@example("*/7 0 * * *", "America/Havana", datetime(2026, 3, 7, tzinfo=UTC), 3 * 24 * 60)
@example("*/7 0,1 * * *", "America/Havana", datetime(2026, 10, 31, tzinfo=UTC), 3 * 24 * 60)
def test_the_count_of_due_times_is_that_of_counting_them(expression, zone, after, minutes):
    timing, until = cron(expression, zone), after + timedelta(minutes=minutes)
    each = list(takewhile(lambda due: due <= until, due_times(timing, after)))
    assert due_between(timing, after, until) == (len(each), each[-1] if each else None)


def test_counting_what_a_year_long_outage_missed_takes_few_steps(monkeypatch):
    """One step for each slot of the two days on which the clocks change, and not one for each of 525,600 slots."""
    steps = []
    found = times._next_cron
    monkeypatch.setattr(times, "_next_cron", lambda *given: steps.append(given) or found(*given))
    start, end = (datetime(year, 1, 1, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC) for year in (2026, 2027))
    count, latest = due_between(cron("* * * * *"), start, end)
    assert (count, latest) == (365 * 24 * 60, end)
    assert len(steps) < 3000


def test_the_spread_is_flat_over_the_window():
    """Failure mode 29: the peak is at most twice the mean."""
    window, buckets = timedelta(minutes=5), 60
    counts = Counter(
        int(spread_offset("core", f"cluster-{number}", case, window) * buckets / 300)
        for number in range(1000)
        for case in ("pod-lifecycle", "cluster-dns", "api-crud", "etcd-crud", "http-endpoint", "volume-lifecycle")
    )
    assert set(counts) == set(range(buckets))
    assert max(counts.values()) <= 2 * 6000 / buckets


def test_the_spread_of_many_clusters_is_at_most_twice_the_mean_in_each_second():
    counts = Counter(int(spread_offset("core", f"c{number}", "dns", timedelta(seconds=60))) for number in range(10_000))
    assert max(counts.values()) <= 2 * 10_000 / 60


def test_the_spread_is_the_same_for_the_same_names_on_every_machine():
    assert spread_offset("core", "prod-1", "pod-lifecycle", timedelta(minutes=5)) == 16.18


@given(st.text("abc-", max_size=5), st.text("abc-", max_size=5), st.integers(1, 10**7))
def test_the_spread_stays_within_its_window(binding, cluster, seconds):
    assert 0 <= spread_offset(binding, cluster, "case", timedelta(seconds=seconds)) < seconds


@pytest.mark.parametrize(
    "text",
    ["61 * * * *", "* * * *", "* * * * * *", "H * * * *", "R * * * *", "0 R(1-5) * * *", "0 0 30 2 *", "@every 5m", ""],
)
def test_invalid_cron_expressions_and_those_that_are_never_due_are_rejected(text):
    with pytest.raises(PydanticCustomError):
        check_cron(text)


@pytest.mark.parametrize("text", ["30 2 * * *", "*/15 * * * *", "@daily", "0 0 * * SUN", "0 0 29 2 *", "0 9 * * 1#1"])
def test_common_cron_expressions_are_accepted(text):
    assert check_cron(text) == text


def test_extra_spaces_in_cron_are_removed():
    assert check_cron("  30   2 * * *") == "30 2 * * *"


@pytest.mark.parametrize(
    ("given", "near"),
    [("Europe/Berlni", BERLIN), ("europe/berlin", BERLIN), ("Berln", BERLIN), ("new york", "America/New_York")],
)
def test_an_unknown_time_zone_is_reported_with_the_nearest(given, near):
    with pytest.raises(PydanticCustomError) as caught:
        check_time_zone(given)
    assert caught.value.context["near"] == near
