"""Folded outcomes: the standing of a case on a subject, its alerts, and their notifications."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Index, UniqueConstraint, bindparam, literal, text
from sqlmodel import Field, SQLModel, col

from kubeprobe.store.node import NODE_NAME_LENGTH
from kubeprobe.store.types import JSONColumn, UTCDateTime
from kubeprobe.vocabulary import NotificationState, Subject


def _partial(name: str, condition: str, *columns: str, unique: bool = False) -> Index:
    """An index of the rows that meet a condition. Statements must contain the condition as it is written here."""
    where = text(condition)
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


def _undelivered(name: str, *columns: str) -> Index:
    """An index of the notifications that are still to be sent."""
    return _partial(name, "state IN ('pending', 'sending')", *columns)


class Standing(SQLModel, table=True):
    """How a case stands on a subject, folded from its outcomes in the order of their due times."""

    cluster: str = Field(primary_key=True, max_length=63)
    case: str = Field(primary_key=True, max_length=63)
    node: str = Field(default="", primary_key=True, max_length=NODE_NAME_LENGTH)
    """`Subject.node_key`."""
    verdict: str = Field(max_length=10)
    since: datetime = Field(sa_type=UTCDateTime)
    """When the current verdict began."""
    fails: int = 0
    """Consecutive fails; an unknown neither adds nor resets."""
    unknowns: int = 0
    """Consecutive unknowns."""
    due_at: datetime = Field(sa_type=UTCDateTime)
    """The due time of the last outcome that changed the standing: a pass after a pass changes nothing."""
    run_id: str = Field(max_length=26)
    """That outcome's run."""


class Alert(SQLModel, table=True):
    """Failing (or unknown) outcomes of one case on one subject, from first failure to proven recovery."""

    __table_args__ = (
        # At most one open alert of a kind for a case on a subject.
        _partial("ux_alert_open", "closed_at IS NULL", "cluster", "case", "node", "kind", unique=True),
    )

    id: str = Field(primary_key=True, max_length=26)
    cluster: str = Field(max_length=63)
    case: str = Field(max_length=63)
    node: str = Field(default="", max_length=NODE_NAME_LENGTH)
    """`Subject.node_key`."""
    kind: str = Field(max_length=10)
    severity: str = Field(default="warning", max_length=10)
    reason: str = Field(max_length=40)
    message: str = ""
    first_run_id: str = Field(max_length=26)
    last_run_id: str = Field(max_length=26)
    opened_at: datetime = Field(sa_type=UTCDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UTCDateTime, index=True)
    unreadable_routes: list[str] | None = Field(default=None, sa_type=JSONColumn)
    """Names of the routes that could not be read when it opened: their targets are notified once they can be."""

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return Subject(self.cluster, self.node)


class Notification(SQLModel, table=True):
    """One message about one alert to one target, with the state of its delivery.

    The messages to one target about one case on one subject are sent one at a time, in the order of their versions, and
    a newer one about the same kind of alert replaces those that have not been sent.
    """

    __table_args__ = (
        UniqueConstraint("alert_id", "event", "route", "target"),
        Index("ix_notification_line", "cluster", "case", "node", "route", "target", "version"),
        _undelivered("ix_notification_next", "next_attempt_at"),
        _undelivered("ix_notification_target", "route", "target", "rejections", "next_attempt_at", "version"),
        _undelivered("ix_notification_waiting", "cluster", "case", "node", "route", "target", "version"),
        _partial("ix_notification_sending", "state = 'sending'", "route", "target", "next_attempt_at"),
        _partial("ix_notification_failed", "state = 'failed'", "next_attempt_at"),
    )

    id: str = Field(primary_key=True, max_length=26)
    alert_id: str = Field(max_length=26, foreign_key="alert.id")
    event: str = Field(max_length=10)
    """`opened` or `closed`."""
    route: str = Field(max_length=63)
    target: str = Field(max_length=63)
    """The target's name within its route; its address is in the catalog only."""
    cluster: str = Field(default="", max_length=63)
    case: str = Field(default="", max_length=63)
    node: str = Field(default="", max_length=NODE_NAME_LENGTH)
    """`Subject.node_key`; with cluster and case, those of the alert."""
    kind: str = Field(default="", max_length=10)
    """The alert's."""
    version: int = Field(default=0, sa_type=BigInteger)
    """Grows with every message about the case on the subject."""
    payload: dict[str, Any] = Field(sa_type=JSONColumn)
    state: str = Field(default=NotificationState.PENDING, max_length=10)
    attempts: int = 0
    rejections: int = 0
    """Failed attempts while the target accepted other messages."""
    crashes: int = 0
    """Attempts whose worker was killed, or failed unexpectedly."""
    may_have_arrived: bool = False
    """An attempt was made, and the target did not refuse it."""
    next_attempt_at: datetime = Field(sa_type=UTCDateTime)
    last_error: str = ""
    sent_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class TargetHealth(SQLModel, table=True):
    """Whether a target accepts messages. All messages to it wait for `retry_at`; then one is tried."""

    __tablename__ = "target_health"

    route: str = Field(primary_key=True, max_length=63)
    target: str = Field(primary_key=True, max_length=63)
    failures: int = 0
    """Consecutive failed attempts, of any message."""
    failing_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    retry_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    accepted_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When it last accepted a message."""
    last_error: str = ""
    spec_digest: str = Field(default="", max_length=64)
    """Of the target's specification when a message to it was last claimed."""


class ResponseError(SQLModel, table=True):
    """Outcomes of a case on a subject that could not be folded, and were set aside."""

    __tablename__ = "response_error"

    cluster: str = Field(primary_key=True, max_length=63)
    case: str = Field(primary_key=True, max_length=63)
    node: str = Field(default="", primary_key=True, max_length=NODE_NAME_LENGTH)
    """`Subject.node_key`."""
    run_id: str = Field(max_length=26)
    """The last of them."""
    error: str
    outcomes: int
    """How many were set aside."""
    since: datetime = Field(sa_type=UTCDateTime)
    last_at: datetime = Field(sa_type=UTCDateTime)


def is_undelivered(notification: Any = Notification) -> ColumnElement[bool]:
    """Of notifications that are still to be sent. Written out, for SQLite uses a partial index only then."""
    states = [NotificationState.PENDING.value, NotificationState.SENDING.value]
    return col(notification.state).in_(bindparam(None, states, expanding=True, literal_execute=True))


def is_being_sent() -> ColumnElement[bool]:
    """Of notifications that a worker has claimed; written out like `is_undelivered`."""
    return col(Notification.state) == literal(NotificationState.SENDING.value, literal_execute=True)


def has_failed() -> ColumnElement[bool]:
    """Of notifications that were given up; written out like `is_undelivered`."""
    return col(Notification.state) == literal(NotificationState.FAILED.value, literal_execute=True)
