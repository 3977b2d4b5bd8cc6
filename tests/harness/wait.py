"""Waiting for other processes, with a time-out whose error names what was expected."""

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
    """Poll `found` until it returns a true value, which is returned.

    Fails after `within_s` seconds with `what`, and with `instead()` as the observed state.
    """
    deadline = time.monotonic() + within_s
    while True:
        if result := found():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {within_s:g} s waiting for: {what} {instead()}")
        time.sleep(every_s)
