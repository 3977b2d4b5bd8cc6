"""The Rich console that everything prints with: it escapes what could control the terminal (`escaping`)."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from kubeprobe.escaping import escape, escape_line

_MOST_PIECES = 200
"""Characters to escape in one styled text, beyond which it loses the styles of its pieces."""


class EscapingConsole(Console):
    """Escapes texts before they are laid out, and once more what is nested in other renderables."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As Console does."""
        super().print(*(_escaped(each) for each in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As Console does. Control segments are Rich's own."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(escape(segment.text), segment.style)


def escape_cell(cell: str | Text) -> Text:
    """A cell of a table: one line."""
    if isinstance(cell, str):
        return Text(escape_line(cell))
    return cell if cell.plain.isprintable() else _rebuild(cell, escape_line)


def _escaped(each: Any) -> Any:
    if isinstance(each, str):
        return escape(each)
    if isinstance(each, Text) and escape(each.plain) != each.plain:
        return _rebuild(each, escape)
    return each


def _rebuild(text: Text, escaping: Any) -> Text:
    """The text with its styles, piece by piece."""
    changed = [index for index, character in enumerate(text.plain) if escaping(character) != character]
    whole = Text(style=text.style, justify=text.justify, overflow=text.overflow, no_wrap=text.no_wrap, end=text.end)
    if len(changed) > _MOST_PIECES:
        return whole.append(escaping(text.plain))
    done = 0
    for index in changed:
        piece = text[index]
        style = piece.spans[0].style if piece.spans else ""
        whole.append_text(text[done:index]).append(escaping(piece.plain), style)
        done = index + 1
    return whole.append_text(text[done:])
