"""A cluster's clock: how far it is from ours, measured by the `Date` of its responses (RFC 9110, 6.6.1).

The times in objects (creationTimestamp, startedAt) are the cluster's; they are compared with ours plus this offset.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MAX_HEADER = 64
"""Characters; a date has 29."""
PLAUSIBLE = timedelta(days=1)
"""A clock that is further off belongs to a broken proxy: certificates would not be valid there."""
_RESOLUTION = timedelta(seconds=1)


class ServerClock:
    """The offset of one cluster's clock. While its dates agree with ours within their resolution, it is 0."""

    def __init__(self) -> None:
        self._range = (timedelta(0), timedelta(0))

    @property
    def offset(self) -> timedelta:
        """To be added to our time to get the cluster's: positive if its clock is ahead of ours."""
        low, high = self._range
        return min(max(timedelta(0), low), high)

    def observe(self, header: str | None, sent: datetime, received: datetime) -> None:
        """Note the `Date` of a response whose request was sent and whose headers were received at these times.

        A date is cut to whole seconds, and the response was made at some moment in between. Each response narrows
        the range; one that contradicts it replaces it, as clocks are set and drift.
        """
        date = read_date(header)
        if date is None:
            return
        low, high = date - received, date + _RESOLUTION - sent
        if max(abs(low), abs(high)) > PLAUSIBLE or low > high:
            return
        narrowed = (max(low, self._range[0]), min(high, self._range[1]))
        self._range = narrowed if narrowed[0] <= narrowed[1] else (low, high)


def read_date(header: str | None) -> datetime | None:
    """The time in a Date header; None if there is none, or it is not a date."""
    if not header or len(header) > MAX_HEADER:
        return None
    try:
        found = parsedate_to_datetime(header)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
