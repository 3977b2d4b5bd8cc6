"""The result of a benchmark: tables, printed in a terminal, as Markdown or as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable


@dataclass
class Table:
    """Rows of cells, and notes for the reader."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row; floats are rounded to three significant figures."""
        self.rows.append([_text(cell) for cell in cells])

    def as_json(self) -> dict[str, Any]:
        """The table as a JSON object."""
        return asdict(self)

    def as_markdown(self) -> str:
        """The table as Markdown, for the pages in docs/."""
        lines = [f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in (self.columns, *self.rows))]
        lines.insert(3, f"|{'---|' * len(self.columns)}")
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def print(self, console: Console) -> None:
        """Print the table in a terminal."""
        table = RichTable(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False)


def _text(cell: object) -> str:
    """The text of a cell: three significant figures, more than the measurements are worth."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"
