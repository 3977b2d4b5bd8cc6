"""Printing: aligned columns for people, JSON for machines, colour on a terminal only.

Everything that commands print is printed here, with the consoles from here, or by `frame.echo`: foreign text cannot
control the terminal.
"""

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from kubeprobe.console import EscapingConsole, escape_cell
from kubeprobe.escaping import escape, escape_json
from kubeprobe.jsonmodel import to_json

GAP = "  "


Cell = str | Text

STYLES = {
    "pass": "green",
    "fail": "bold red",
    "unknown": "yellow",
    "stale": "yellow",
    "never": "dim",
    "cordoned": "dim",
    "ready": "green",
    "unreachable": "bold red",
    "unwatched": "bold red",
    "ok": "green",
    "problem": "bold red",
    "added": "green",
    "changed": "yellow",
    "removed": "red",
    "created": "green",
    "refused": "bold red",
    "pending": "cyan",
    "launching": "cyan",
    "running": "cyan",
}


def console() -> Console:
    """Standard output. If it is not a terminal, lines are as long as they need to be."""
    return _console(sys.stdout.isatty(), stderr=False)


def error_console() -> Console:
    """Standard error: progress and remarks, so that standard output stays clean."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(is_terminal: bool, *, stderr: bool) -> Console:
    return EscapingConsole(
        stderr=stderr, width=None if is_terminal else 10_000, highlight=False, emoji=False, markup=False
    )


def remark(text: str, style: str = "dim") -> None:
    """Print something beside the result, on standard error."""
    error_console().print(text, style=style)


def write(text: str) -> None:
    """Write to standard output at once."""
    sys.stdout.write(escape(text))
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print a view, or a list of them, as JSON."""
    sys.stdout.write(_dump(value, orjson.OPT_INDENT_2))


def print_json_line(value: Any) -> None:
    """Print a view as one line of JSON, at once: a stream that others read as it grows."""
    sys.stdout.write(_dump(value, 0))
    sys.stdout.flush()


def _dump(value: Any, option: int) -> str:
    return escape_json(orjson.dumps(to_json(value), option=option | orjson.OPT_APPEND_NEWLINE).decode())


class Columns:
    """Aligned columns. They keep their widths, so more lines may follow (`--follow`)."""

    def __init__(self, *titles: str) -> None:
        self._titles = titles
        self._widths = [cell_len(title) for title in titles]

    def lines(self, rows: Iterable[Sequence[Cell]], *, title: bool = True) -> list[Text]:
        """The rows as lines, below a line of titles."""
        texts = [[_text(cell) for cell in row] for row in rows]
        for row in texts:
            self._widths = [max(width, cell.cell_len) for width, cell in zip(self._widths, row, strict=True)]
        head = [[Text(name, "bold") for name in self._titles]] if title else []
        return [self._line(row) for row in [*head, *texts]]

    def print(self, rows: Iterable[Sequence[Cell]], *, title: bool = True) -> None:
        """Print them; a line too long for the terminal is cut."""
        out = console()
        for line in self.lines(rows, title=title):
            out.print(line, no_wrap=True, overflow="ellipsis", crop=True)

    def _line(self, row: Sequence[Text]) -> Text:
        line = Text()
        for cell, width in zip(row, self._widths, strict=True):
            line.append_text(cell).append(" " * (width - cell.cell_len) + GAP)
        line.rstrip()
        return line


def working(text: str) -> AbstractContextManager[Any]:
    """A spinner on a terminal while something takes long."""
    console = error_console()
    return console.status(Text(text)) if console.is_terminal else nullcontext()


def styled(word: str | None, otherwise: str = "-") -> Text:
    """A word that has a colour of its own."""
    return Text(word, STYLES.get(word, "")) if word else Text(otherwise, "dim")


def one_line(text: str | None) -> str:
    """A message on one line."""
    return " ".join((text or "").split())


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, as short as can be; `in ...` for what is yet to come."""
    if moment is None:
        return "-"
    passed = now - moment
    return f"in {brief(-passed)}" if passed < timedelta(seconds=-1) else f"{brief(max(passed, timedelta(0)))} ago"


def brief(span: timedelta | None) -> str:
    """A duration in at most two units: `850ms`, `4.2s`, `3m05s`, `2h10m`, `4d3h`."""
    if span is None:
        return "-"
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 59.5:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24}h"


def clock_time(moment: datetime | None) -> str:
    """UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else "-"


def _text(cell: Cell) -> Text:
    return escape_cell(cell)
