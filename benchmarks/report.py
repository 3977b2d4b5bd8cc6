"""What a benchmark gives: tables. Printed for people, or as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable


@dataclass
class Table:
    """Rows of cells, and what a reader has to know of them."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row; floats are rounded to three figures."""
        self.rows.append([_text(cell) for cell in cells])

    def as_json(self) -> dict[str, Any]:
        """For `--output json`."""
        return asdict(self)

    def as_markdown(self) -> str:
        """For the pages below docs/."""
        lines = [f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in (self.columns, *self.rows))]
        lines.insert(3, f"|{'---|' * len(self.columns)}")
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def print(self, console: Console) -> None:
        """For people."""
        table = RichTable(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False)


def _text(cell: object) -> str:
    """Three figures are more than a shared machine deserves."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"
