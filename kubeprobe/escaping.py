"""Foreign text on a terminal: what a probe, a cluster, a repository or a target wrote must not control it.

Escaped are control characters (C0 except line feed and tab, DEL, C1), which start terminal sequences; bidirectional
controls, which reorder what is read; line and paragraph separators, tag characters and lone surrogates. The stored text
stays as it is. Everything that prints goes through here: `console`, `cli.output`, `logs`.
"""

_LINE_BREAKING = "\n\t"
_RANGES = (
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0x061C, 0x061C),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0xD800, 0xDFFF),
    (0xE0000, 0xE007F),
)


def _escaped(code: int) -> str:
    if code == ord("\n"):
        return "\\n"
    if code == ord("\t"):
        return "\\t"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_CELL = {code: _escaped(code) for first, last in _RANGES for code in range(first, last + 1)}
_TEXT = {code: escaped for code, escaped in _CELL.items() if chr(code) not in _LINE_BREAKING}
_JSON = {
    code: f"\\u{code:04x}" for code in _CELL if 0x20 <= code < 0xD800
}  # JSON itself escapes what is lower, and cannot hold surrogates


def escape(text: str) -> str:
    """The text with every character escaped that could control a terminal; line feeds and tabs are kept."""
    return text.replace("\r\n", "\n").translate(_TEXT)


def escape_line(text: str) -> str:
    """The same on one line: line feeds and tabs are escaped, too."""
    return text.translate(_CELL)


def escape_json(text: str) -> str:
    """JSON of the same value that contains none of these characters."""
    return text.translate(_JSON)
