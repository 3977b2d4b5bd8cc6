"""Sends the notifications of the outbox, each until its target accepts it.

A notification is claimed (compare-and-set), sent outside of any transaction, and then updated with the result. If the
worker is killed in between, the claim lasts until its lease ends; then the notification is sent again. Delivery is at
least once: webhooks carry an id by which receivers drop duplicates.

Alertmanager forgets alerts that are not repeated: while the alert is open, `housekeeping.repeat_alerts` puts the
opening's notification back into the outbox.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, exists, select, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from kubeprobe import metrics
from kubeprobe.backoff import Backoff
from kubeprobe.catalog import CatalogCache
from kubeprobe.catalog.model import RouteTarget
from kubeprobe.jsonmodel import from_json
from kubeprobe.response import targets
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import Message
from kubeprobe.response.routes import TargetRef, find_target
from kubeprobe.store import Alert, Notification, Store, is_undelivered
from kubeprobe.vocabulary import NotificationState

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=1)
"""After which another worker may send a claimed notification; longer than any target's time limit."""
BACKOFF = Backoff(first=timedelta(seconds=10), longest=timedelta(minutes=10))
MAX_ATTEMPTS = 12
"""With the back-off between them, a bit more than an hour."""

_RESULTS = {
    NotificationState.SENT: "sent",
    NotificationState.PENDING: "retried",
    NotificationState.FAILED: "failed",
    None: "retried",  # the lease ended meanwhile: another worker sends it again
}


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A notification that this worker has claimed until `lease`; the lease also identifies the claim."""

    id: str
    to: TargetRef
    message: Message
    attempt: int
    lease: datetime
    target: RouteTarget | None
    has_unlimited_attempts: bool
    """The alert is open and the target needs repeats."""
    is_obsolete: bool
    """A repeat of an alert that has closed in the meantime."""
    is_opening_lost: bool
    """A closing whose opening never reached the target."""


def due_notifications(store: Store, now: datetime, limit: int = 500) -> list[str]:
    """The ids of notifications that are due, longest waiting first.

    They are new, due for another attempt, or were claimed by a worker that was killed.
    """
    statement = select(col(Notification.id)).where(is_deliverable(now))
    with store.reading() as session:
        return list(session.scalars(statement.order_by(col(Notification.next_attempt_at)).limit(limit)))


def deliver(store: Store, catalogs: CatalogCache, notification_id: str, now: datetime) -> NotificationState | None:
    """Send one notification. Returns its new state; None if it isn't due or another worker has claimed it."""
    claimed = _claim(store, catalogs, notification_id, now)
    if claimed is None:
        return None
    try:
        _send(claimed, now)
    except targets.TargetError as error:
        state = _record_failure(store, claimed, now, error)
    else:
        state = _record(store, claimed, state=NotificationState.SENT, sent_at=now, last_error="")
    metrics.record_delivery(targets.kind_of(claimed.target), "dropped" if claimed.is_obsolete else _RESULTS[state])
    return state


def _send(claimed: _Claimed, now: datetime) -> None:
    if claimed.is_obsolete:
        return
    if claimed.is_opening_lost:
        raise targets.PermanentTargetError("the target never received the opening, so the closing is not sent")
    if claimed.attempt > MAX_ATTEMPTS and not claimed.has_unlimited_attempts:
        raise targets.PermanentTargetError(f"responders were killed in each of {MAX_ATTEMPTS} attempts")
    if claimed.target is None:
        route, target = claimed.to
        raise targets.PermanentTargetError(f"the catalog no longer has a target {target!r} in a route {route!r}")
    targets.send(claimed.target, claimed.message, targets.Delivery(claimed.id, claimed.attempt, now))


def is_deliverable(now: datetime) -> ColumnElement[bool]:
    """Due, and not a closing whose opening is still undelivered: the order is kept."""
    opening = aliased(Notification)
    opening_undelivered = exists().where(
        col(opening.alert_id) == col(Notification.alert_id),
        col(opening.route) == col(Notification.route),
        col(opening.target) == col(Notification.target),
        col(opening.event) == AlertEvent.OPENED,
        col(opening.state).in_([NotificationState.PENDING, NotificationState.SENDING]),
    )
    return and_(
        is_undelivered(),
        col(Notification.next_attempt_at) <= now,
        (col(Notification.event) == AlertEvent.OPENED) | ~opening_undelivered,
    )


def _claim(store: Store, catalogs: CatalogCache, notification_id: str, now: datetime) -> _Claimed | None:
    lease = now + LEASE
    statement = (
        update(Notification)
        .where(col(Notification.id) == notification_id, is_deliverable(now))
        .values(state=NotificationState.SENDING, next_attempt_at=lease, attempts=col(Notification.attempts) + 1)
        .execution_options(synchronize_session=False)
    )
    with store.writing() as session:
        if session.execute(statement.returning(col(Notification.id))).one_or_none() is None:
            return None
        found = session.get_one(Notification, notification_id)
        still_open = session.get_one(Alert, found.alert_id).closed_at is None
        to = TargetRef(found.route, found.target)
        target = find_target(catalogs.current(session), to)
        opening = found.event == AlertEvent.OPENED
        is_opening_lost = not opening and _is_opening_lost(session, found)
    return _Claimed(
        id=notification_id,
        to=to,
        message=from_json(Message, found.payload),
        attempt=found.attempts,
        lease=lease,
        target=target,
        has_unlimited_attempts=opening and still_open and target is not None and targets.needs_repeats(target),
        is_obsolete=opening and found.sent_at is not None and not still_open,
        is_opening_lost=is_opening_lost,
    )


def _is_opening_lost(session: Session, closing: Notification) -> bool:
    statement = select(col(Notification.id)).where(
        col(Notification.alert_id) == closing.alert_id,
        col(Notification.route) == closing.route,
        col(Notification.target) == closing.target,
        col(Notification.event) == AlertEvent.OPENED,
        col(Notification.state) == NotificationState.FAILED,
        col(Notification.sent_at).is_(None),
    )
    return session.execute(statement).first() is not None


def _record_failure(
    store: Store, claimed: _Claimed, now: datetime, error: targets.TargetError
) -> NotificationState | None:
    """Schedule the next attempt, or keep it as failed, which `kubeprobe doctor` shows."""
    temporary = isinstance(error, targets.TemporaryTargetError)
    will_retry = claimed.has_unlimited_attempts or (temporary and claimed.attempt < MAX_ATTEMPTS)
    log.warning(
        "notification not delivered",
        notification=claimed.id,
        route=claimed.to.route,
        target=claimed.to.target,
        attempt=claimed.attempt,
        will_retry=will_retry,
        error=str(error),
    )
    if not will_retry:
        return _record(store, claimed, state=NotificationState.FAILED, last_error=str(error))
    next_attempt_at = now + BACKOFF.pause(claimed.attempt)
    return _record(
        store, claimed, state=NotificationState.PENDING, last_error=str(error), next_attempt_at=next_attempt_at
    )


def _record(store: Store, claimed: _Claimed, **values: Any) -> NotificationState | None:
    """Write the result, unless the lease ended and another worker has claimed the notification."""
    statement = (
        update(Notification)
        .where(
            col(Notification.id) == claimed.id,
            col(Notification.state) == NotificationState.SENDING,
            col(Notification.next_attempt_at) == claimed.lease,
        )
        .values(**values)
        .returning(col(Notification.state))
        .execution_options(synchronize_session=False)
    )
    with store.writing() as session:
        state = session.execute(statement).scalar_one_or_none()
    return NotificationState(state) if state else None
