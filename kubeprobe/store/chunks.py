"""Rows of one statement."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")
_SIZE = 5000
"""Far below the databases' limits on parameters; 100,000 rows take 20 statements."""


def chunked(items: Sequence[ItemT]) -> Iterator[list[ItemT]]:
    """The items in lists that are short enough for one statement."""
    for start in range(0, len(items), _SIZE):
        yield list(items[start : start + _SIZE])
