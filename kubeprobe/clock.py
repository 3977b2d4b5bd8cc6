"""Time is handed in: everything that asks for it takes a clock, so that tests never wait."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present by this machine's clock, aware, in UTC. What processes share is compared by `store.StoreClock`."""
    return datetime.now(UTC)


class TimeLimit:
    """For how long a task does one part of its work after another; what is left is another task's."""

    def __init__(self, limit: timedelta, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._elapsed_s = elapsed_s
        self._ends_s = elapsed_s() + limit.total_seconds()

    @property
    def is_over(self) -> bool:
        """Whether no further part may be begun."""
        return self._elapsed_s() >= self._ends_s
