"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 8


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence to append to an error message: the nearest known name, or the known names if none is close."""
    names = sorted(known)
    if close := get_close_matches(name, names, n=1):
        return f" Did you mean {close[0]!r}?"
    if not names:
        return " There are none yet."
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" Known: {', '.join(names[:SHOWN])}{more}."
