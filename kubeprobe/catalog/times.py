"""When runs are due: intervals aligned to the epoch, cron across daylight saving changes, and the hashed spread.

Cron uses the wall clock of its time zone, as Vixie cron does:

- an hour field that names hours (`30 2 * * *`): a time inside the skipped hour of spring is due once, right after the
  gap; a time inside the repeated hour of autumn is due at its first occurrence only.
- an hour field that means every hour (`*/15 * * * *`): due by elapsed time, so nothing is lost in spring, and in autumn
  both passes of the repeated hour count.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import takewhile
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, CroniterError, croniter

from kubeprobe.catalog.problems import invalid, nearest_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_ALIASES = {
    "@hourly": "* * *",
    "@daily": "* * *",
    "@midnight": "* * *",
    "@weekly": "* * 0",
    "@monthly": "1 * *",
    "@yearly": "1 1 *",
    "@annually": "1 1 *",
}
"""The aliases, and the days that each means, as cron's last three fields."""
_CRON_HELP = "five fields: minute hour day-of-month month day-of-week, such as '30 2 * * *', or @daily"
# croniter's own extensions: R is a random value, H a hashed one.
_RANDOM_OR_HASHED = re.compile(r"(^|[\s,])[RH]($|[\s,(/])", re.IGNORECASE)


class Timing(Protocol):
    """When runs are due; a store.Schedule is one. Either `every_s` or `cron` is set."""

    @property
    def every_s(self) -> int | None:
        """Interval in seconds, counted from the epoch."""

    @property
    def cron(self) -> str | None:
        """Cron expression of five fields."""

    @property
    def timezone(self) -> str:
        """IANA name of the cron expression's time zone."""

    @property
    def offset_s(self) -> float:
        """Seconds after the interval's start, or after cron's time."""


def next_due(timing: Timing, after: datetime) -> datetime:
    """The first due time later than `after`; UTC."""
    if timing.every_s:
        return _interval_start(timing, _interval_number(timing, after) + 1)
    offset = timedelta(seconds=timing.offset_s)
    return _next_cron(_cron_of(timing), timing.timezone, _floor(after - offset)) + offset


def due_between(timing: Timing, after: datetime, until: datetime) -> tuple[int, datetime | None]:
    """The number of due times in (after, until], and the latest of them."""
    if timing.every_s:
        last = _interval_number(timing, until)
        count = last - _interval_number(timing, after)
        return (count, _interval_start(timing, last)) if count > 0 else (0, None)
    offset = timedelta(seconds=timing.offset_s)
    count, latest = _cron_between(_cron_of(timing), timing.timezone, _floor(after - offset), _floor(until - offset))
    return count, latest + offset if latest else None


def due_times(timing: Timing, after: datetime) -> Iterator[datetime]:
    """All due times later than `after`; endless."""
    while True:
        after = next_due(timing, after)
        yield after


def spread_offset(binding: str, cluster: str, case: str, window: timedelta) -> float:
    """Seconds in [0, window), to the millisecond: the same for the same names, evenly spread over different ones."""
    key = f"{binding}/{cluster}/{case}".encode()  # names contain no slash
    part = int.from_bytes(blake2b(key, digest_size=8).digest())
    steps = int(window.total_seconds() * 1000)
    return (part * steps >> 64) / 1000


def check_cron(text: str) -> str:
    """The cron expression with single spaces. Raises the error of a validator if it is invalid or never due."""
    tidy = " ".join(text.split())
    if tidy.startswith("@"):
        if tidy not in _ALIASES:
            raise invalid(f"{text!r} is not a cron expression", expected=_CRON_HELP, near=nearest_name(tidy, _ALIASES))
        return tidy
    if tidy.count(" ") != 4 or _RANDOM_OR_HASHED.search(tidy):
        raise invalid(f"{text!r} is not a cron expression", expected=_CRON_HELP)
    try:
        croniter(tidy, datetime(2024, 1, 1)).get_next(datetime)  # noqa: DTZ001 - a calendar question only
    except CroniterBadDateError:
        raise invalid(f"{text!r} is never due: there is no such day", expected="a day that exists") from None
    except (CroniterError, ValueError) as error:
        raise invalid(f"{text!r} is not a cron expression ({error})", expected=_CRON_HELP) from None
    return tidy


def check_time_zone(name: str) -> str:
    """The time zone's name. Raises the error of a validator, with the nearest name, if there is no such zone."""
    zones = _time_zones()
    if name not in zones:
        by_city = {zone.rpartition("/")[2]: zone for zone in sorted(zones)}
        city = nearest_name(name.replace(" ", "_"), by_city)
        raise invalid(
            f"{name!r} is not a time zone",
            expected="an IANA name such as Europe/Berlin",
            near=nearest_name(name, zones) or by_city.get(city, ""),
        )
    return name


@cache
def _time_zones() -> frozenset[str]:
    """All names; cached, as listing them reads a directory tree."""
    return frozenset(available_timezones())


def _cron_of(timing: Timing) -> str:
    if not timing.cron:
        raise ValueError("a timing has neither every_s nor cron; set one of the two")
    return timing.cron


def _interval_number(timing: Timing, moment: datetime) -> int:
    """Number of the interval that contains the moment, which begins at its start; exact to the microsecond."""
    interval = timedelta(seconds=timing.every_s or 0)
    return (moment - _EPOCH - timedelta(seconds=timing.offset_s)) // interval


def _interval_start(timing: Timing, number: int) -> datetime:
    return _EPOCH + timedelta(seconds=number * (timing.every_s or 0)) + timedelta(seconds=timing.offset_s)


def _floor(moment: datetime) -> datetime:
    """The moment rounded down to a whole minute, as cron's times are."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


@lru_cache(maxsize=65_536)
def _next_cron(cron: str, timezone: str, after: datetime) -> datetime:
    """Cron's first time later than a whole minute, UTC. Cached: thousands of clusters share one expression."""
    zone = ZoneInfo(timezone)
    step = _next_elapsed if _every_hour(cron) else _next_on_wall_clock
    return step(cron, zone, after)


@lru_cache(maxsize=4096)
def _cron_between(cron: str, timezone: str, after: datetime, until: datetime) -> tuple[int, datetime | None]:
    """The number of cron's times in (after, until], both whole minutes, and the latest. Bounded by the days between.

    Of a day without a change of the offset the times are known; the others are counted one by one.
    """
    zone, minutes, count, latest = ZoneInfo(timezone), _minutes_of_day(cron), 0, after
    day, last = after.astimezone(zone).date(), until.astimezone(zone).date()
    days = _days(cron, day, last)
    while day <= last:
        begin, end = _midnight(day, zone), _midnight(day + _DAY, zone)
        if _transition(zone, begin - _MINUTE, end) is not None:
            moment = max(latest, begin - _MINUTE)
            while (moment := _next_cron(cron, timezone, moment)) <= min(until, end - _MINUTE):
                count, latest = count + 1, moment
        elif day in days:
            first = bisect_right(minutes, (after - begin) // _MINUTE)
            found = minutes[first : bisect_right(minutes, (until - begin) // _MINUTE)]
            count, latest = count + len(found), begin + found[-1] * _MINUTE if found else latest
        day += _DAY
    return count, latest if count else None


@lru_cache(maxsize=1024)
def _minutes_of_day(cron: str) -> list[int]:
    """At which minutes of a day it is due, if it is due on that day."""
    minutes, hours = (
        range(size) if field == ["*"] else sorted({int(value) for value in field})
        for field, size in zip(croniter.expand(cron)[0][:2], (60, 24), strict=True)
    )
    return [60 * hour + minute for hour in hours for minute in minutes]


def _days(cron: str, first: date, last: date) -> set[date]:
    """The days on which it is due."""
    fields = _ALIASES[cron] if cron in _ALIASES else cron.split(" ", 2)[2]
    times = croniter(f"0 0 {fields}", datetime.combine(first - _DAY, time(12)))
    days = (moment.date() for moment in iter(lambda: times.get_next(datetime), None))
    return set(takewhile(lambda day: day <= last, days))


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The instant at which a day begins."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


@lru_cache(maxsize=1024)
def _every_hour(cron: str) -> bool:
    hours = croniter.expand(cron)[0][1]
    return hours == ["*"] or set(range(24)) <= set(hours)


def _next_on_wall_clock(cron: str, zone: tzinfo, after: datetime) -> datetime:
    """Fixed hours: map each wall-clock time to one instant. The mapping never runs backwards."""
    times = croniter(cron, after.astimezone(zone).replace(tzinfo=None, fold=0))
    while True:
        due = _first_instant(times.get_next(datetime), zone)
        if due > after:
            return due


def _first_instant(wall: datetime, zone: tzinfo) -> datetime:
    """The first instant of a wall-clock time; if it is skipped, the end of the gap."""
    first = wall.replace(tzinfo=zone, fold=0)
    instant = first.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return instant
    # In a gap, fold=0 uses the offset before it, so the instant lies after the transition.
    return _transition(zone, instant - _DAY, instant) or instant


def _next_elapsed(cron: str, zone: tzinfo, after: datetime) -> datetime:
    """Every hour: computes with a constant offset, from one change of the offset to the next."""
    start, since, offset = after, after, _offset(zone, after)
    while True:
        wall = (start + offset).replace(tzinfo=None)
        due: datetime = (croniter(cron, wall).get_next(datetime) - offset).replace(tzinfo=UTC)
        change = _transition(zone, since, due)
        if change is None:
            return due
        # A time exactly at the change counts, under the new offset.
        start, since, offset = change - _MINUTE, change, _offset(zone, change)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _transition(zone: tzinfo, after: datetime, until: datetime) -> datetime | None:
    """The first change of the zone's offset in (after, until], to the second."""
    before, low = _offset(zone, after), after
    while low < until:
        high = min(low + _DAY, until)
        if _offset(zone, high) != before:
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            return high
        low = high
    return None
