"""What every room speaks of: Kubernetes objects as JSON, and times as Kubernetes writes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object, or a part of one. Objects that are stored are never changed in place."""

Clock = Callable[[], datetime]


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)
