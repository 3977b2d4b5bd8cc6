"""Growing pauses between attempts. What celery and kombu offer takes whole seconds and no randomness of ours."""

import random as _random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

_MOST_STEPS = 64
"""Beyond, `longest` is reached anyway, and the power would only grow large."""


@dataclass(frozen=True)
class Backoff:
    """`first` after one failure, `factor` times as long after each further one, at most `longest`."""

    first: timedelta
    longest: timedelta
    factor: float = 2.0
    jitter: float = 0.0
    """The share of each pause that is random: with 0.5, a pause lasts 50 % to 100 % of its length."""

    def pause(self, failures: int, random: Callable[[], float] = _random.random) -> timedelta:
        """The pause after so many failures in a row (1 or more). `random` returns a number from 0 to 1."""
        steps = min(max(failures - 1, 0), _MOST_STEPS)
        seconds = min(self.first.total_seconds() * self.factor**steps, self.longest.total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * random()) if self.jitter else seconds)
