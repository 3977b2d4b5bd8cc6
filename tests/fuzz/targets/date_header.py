"""The `Date` of a cluster's responses."""

from datetime import UTC, datetime

from kubeprobe.fleet.serverclock import ServerClock

SEEDS = (b"Mon, 23 Nov 2026 12:00:00 GMT", b"Monday, 23-Nov-26 12:00:00 GMT", b"Mon Nov 23 12:00:00 2026")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def fuzz(data: bytes) -> None:
    """Any header is a date or is ignored."""
    ServerClock().observe(data.decode("latin-1"), NOW, NOW)
