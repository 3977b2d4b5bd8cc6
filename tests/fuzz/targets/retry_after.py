"""The `Retry-After` header of a response of a target."""

from datetime import UTC, datetime, timedelta

from kubeprobe.response.targets.posting import parse_retry_after

SEEDS = (b"120", b"Mon, 30 Nov 2026 12:01:30 GMT", b"Monday, 30-Nov-26 12:01:30 GMT", b"1e12", b"-1")
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def fuzz(data: bytes) -> None:
    """It is a pause of at most a day, or none."""
    found = parse_retry_after(data.decode("latin-1"), NOW)
    assert found is None or timedelta() <= found <= timedelta(days=1)
