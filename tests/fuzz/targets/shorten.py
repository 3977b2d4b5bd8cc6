"""Texts that are cut for a receiver, and redacted."""

from kubeprobe.response.shorten import shorten, utf16_length
from kubeprobe.response.targets.secret import redact

SEEDS = (b"\x10Passed: all is well\nDetails: kubeprobe show 01run", b"\x01tgram://token/chat \xf0\x9f\x98\x80")


def fuzz(data: bytes) -> None:
    """The first byte is the limit; the rest is the text, and a secret."""
    limit, text = (data[0] if data else 0), data[1:].decode(errors="replace")
    assert utf16_length(shorten(text, limit)) <= limit
    assert text not in redact(f"<{text}>", text) or len(text) < 4
