"""Kubernetes objects as JSON, and timestamps in the format of Kubernetes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object, or a part of one. Objects that are stored are never changed in place."""

Clock = Callable[[], datetime]


def timestamp(moment: datetime) -> str:
    """A time in the format of Kubernetes: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)
