"""Foreign text that is printed on a terminal."""

import json
import re

from rich.text import Text

from kubeprobe.console import EscapingConsole, escape_cell
from kubeprobe.escaping import escape, escape_json, escape_line

SEEDS = (b"\x1b]0;title\x07\x1b[2J", "\x9b2K\u202e\r\n\t caf\u00e9".encode(), b"plain text\nin lines")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def fuzz(data: bytes) -> None:
    """No control character is left, whatever prints it; escaping twice changes nothing; JSON keeps its value."""
    text = data.decode(errors="surrogateescape")
    console = EscapingConsole(width=80, markup=False, highlight=False, emoji=False)
    with console.capture() as printed:
        console.print(text)
        console.print(Text.assemble("a", (text, "red"), "b"), escape_cell(text))
    for shown in (escape(text), escape_line(text), printed.get()):
        assert CONTROLS.search(shown) is None
        assert escape(shown) == shown
    clean = data.decode(errors="replace")
    assert json.loads(escape_json(json.dumps(clean, ensure_ascii=False))) == clean
