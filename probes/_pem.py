"""The blocks of a PEM text, as Go finds them: text between blocks is skipped, and one bad block hides no other."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

CERTIFICATE = "CERTIFICATE"
_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"


@dataclass(frozen=True)
class PemBlock:
    """One block, complete or not."""

    label: str
    """`CERTIFICATE`, `EC PRIVATE KEY`."""
    der: bytes
    """Empty if the block has no end or its base64 is invalid."""
    headers: bool = False
    """Whether it has headers such as `Proc-Type: 4,ENCRYPTED`; Go takes no certificate from such a block."""


def pem_blocks(text: bytes) -> Iterator[PemBlock]:
    """All blocks, in order; linear in the text's size."""
    label, lines, headers = "", list[bytes](), False
    for line in map(bytes.strip, text.splitlines()):
        if line.startswith(_BEGIN) and line.endswith(_DASHES):
            if label:
                yield PemBlock(label, b"", headers)
            label, lines, headers = _label(line, _BEGIN), [], False
        elif line.startswith(_END) and label:
            complete = _label(line, _END) == label
            yield PemBlock(label, _decoded(lines) if complete else b"", headers)
            label = ""
        elif b":" in line:
            headers = True
        elif label:
            lines.append(line)
    if label:
        yield PemBlock(label, b"", headers)


def _label(line: bytes, prefix: bytes) -> str:
    return line[len(prefix) :].removesuffix(_DASHES).decode("ascii", "replace")


def _decoded(lines: list[bytes]) -> bytes:
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error:
        return b""
