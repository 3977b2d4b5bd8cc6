"""The pauses of a Backoff: growth, cap and jitter."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.backoff import Backoff

SECOND = timedelta(seconds=1)


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(2 * SECOND, 30 * SECOND)
    assert [backoff.pause(failures) / SECOND for failures in range(1, 7)] == [2, 4, 8, 16, 30, 30]


def test_pauses_grow_by_the_given_factor() -> None:
    assert Backoff(SECOND, 60 * SECOND, factor=3).pause(3) == 9 * SECOND


def test_zero_failures_count_as_one() -> None:
    assert Backoff(SECOND, 60 * SECOND).pause(0) == SECOND


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 8), (0.5, 6), (1.0, 4)])
def test_jitter_shortens_a_pause_by_up_to_its_share(random: float, seconds: int) -> None:
    backoff = Backoff(SECOND, 60 * SECOND, jitter=0.5)
    assert backoff.pause(4, lambda: random) == seconds * SECOND


@given(st.integers(min_value=-1), st.floats(min_value=0, max_value=1))
def test_no_pause_exceeds_the_longest(failures: int, jitter: float) -> None:
    pause = Backoff(SECOND, 60 * SECOND, jitter=jitter).pause(failures)
    assert timedelta(0) <= pause <= 60 * SECOND
