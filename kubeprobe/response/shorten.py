"""Shortens what a receiver would refuse for its length, with a mark."""

from collections.abc import Callable

_TAIL = 400
"""Characters of the end that are kept, if they are whole lines: times, owner, runbook, and run."""


def utf16_length(text: str) -> int:
    """Characters as JavaScript, Java and Telegram count them: an emoji is two."""
    return len(text) + sum(character > "\uffff" for character in text)


def shorten(text: str, limit: int, length: Callable[[str], int] = utf16_length) -> str:
    """The text, if its length is within the limit; else its beginning and its last lines, with a mark between them.

    `length` may count more than the characters, such as those of escapes; a longer text must not be shorter.
    """
    if length(text) <= limit:
        return text
    tail = _last_lines(text, min(_TAIL, limit // 3))
    mark = f"… [cut: {len(text)} characters in all]"
    ending = f"{mark}\n{tail}" if tail else mark
    if length(ending) > limit:
        ending = "…" if length("…") <= limit else ""
    low, high = 0, len(text) - len(tail)
    while low < high:  # the longest beginning that leaves space for the ending
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle] + ending) <= limit else (low, middle - 1)
    return text[:low] + ending


def _last_lines(text: str, limit: int) -> str:
    start = text.find("\n", max(0, len(text) - limit - 1))
    return text[start + 1 :] if start >= 0 else ""
