"""Waiting for what other processes do, with a time-out that names what it waited for."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    what: str,
    found: Callable[[], T | None],
    within_s: float = 30.0,
    every_s: float = 0.05,
    instead: Callable[[], object] = lambda: "",
) -> T:
    """The first true answer of `found`; fails in time, naming `what`, and what was there `instead`."""
    deadline = time.monotonic() + within_s
    while True:
        if answer := found():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:g} s in vain for: {what} {instead()}")
        time.sleep(every_s)
