"""Conditions for notifications: the order of those to one target about one case on one subject."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import col

from kubeprobe.response.outcomes import StandingKey
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Notification, is_undelivered
from kubeprobe.vocabulary import NotificationState


def is_next_and_due(now: datetime) -> ColumnElement[bool]:
    """Of notifications that are due and wait for no earlier one, unless a newer one replaces that."""
    earlier = aliased(Notification)
    waits = exists().where(
        *_is_same_subject(earlier, Notification),
        col(earlier.version) < col(Notification.version),
        is_undelivered(earlier),
        or_(col(earlier.state) == NotificationState.SENDING, ~is_superseded(earlier)),
    )
    return and_(is_undelivered(), col(Notification.next_attempt_at) <= now, ~waits)


def is_superseded(notification: Any) -> ColumnElement[bool]:
    """Of notifications that a newer one about the same kind of alert replaces."""
    newer = aliased(Notification)
    return exists().where(
        *_is_same_subject(newer, notification),
        col(newer.kind) == col(notification.kind),
        col(newer.version) > col(notification.version),
    )


def is_to(to: TargetRef) -> ColumnElement[bool]:
    """Of notifications to this target."""
    return and_(col(Notification.route) == to.route, col(Notification.target) == to.target)


def key_of(notification: Notification) -> StandingKey:
    """What a notification is about."""
    return StandingKey.from_columns(notification.cluster, notification.case, notification.node)


def is_about(key: StandingKey) -> tuple[ColumnElement[bool], ...]:
    """Of notifications about this case on this subject."""
    return (
        col(Notification.cluster) == key.subject.cluster,
        col(Notification.case) == key.case,
        col(Notification.node) == key.subject.node_key,
    )


def _is_same_subject(one: Any, other: Any) -> tuple[ColumnElement[bool], ...]:
    """To the same target about the same case on the same subject."""
    names = ("cluster", "case", "node", "route", "target")
    return tuple(col(getattr(one, name)) == col(getattr(other, name)) for name in names)
