"""Sending what lies in the outbox, each message until its target has taken it. Next: people.

A message is claimed (compare-and-set), sent outside of any transaction, and then settled. A deliverer that is
killed in between leaves it claimed until its lease ends; then it is sent again. So a target may hear a message
twice, but never not at all: webhooks carry an id to drop repeats by.

Alertmanager must hear of an open alert again and again, because it forgets: while the alert is open,
`housekeeping.repeat_alerts` puts the opening's notification back into the outbox.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, exists, select, text, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from kubeprobe.catalog import CatalogCache
from kubeprobe.catalog.model import RouteTarget
from kubeprobe.jsonmodel import from_json
from kubeprobe.response import targets
from kubeprobe.response.fold import Event
from kubeprobe.response.message import Message
from kubeprobe.response.routes import Address, target_at
from kubeprobe.store import Alert, Notification, Store
from kubeprobe.vocabulary import NotificationState

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=1)
"""How long a deliverer may be silent; longer than any target's time limit."""
FIRST_BACK_OFF = timedelta(seconds=10)
LONGEST_BACK_OFF = timedelta(minutes=10)
MAX_ATTEMPTS = 12
"""With the pauses between them, a bit more than an hour."""

# A literal, not parameters: SQLite uses a partial index only where it sees the index's own condition.
UNSETTLED = text("notification.state IN ('pending', 'sending')")


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A notification that is this deliverer's until `lease`, by which it is known again."""

    id: str
    address: Address
    message: Message
    attempt: int
    lease: datetime
    target: RouteTarget | None
    persists: bool
    """Tells of an open alert to a target that must be told: no number of attempts is enough."""
    overtaken: bool
    """A repeat, but the alert has closed meanwhile."""
    untold: bool
    """Tells of an end to a target that the beginning never reached."""


def due_notifications(store: Store, now: datetime, limit: int = 500) -> list[str]:
    """The ids of messages that wait to be sent, longest waiting first.

    They were not tried yet, are to be tried again, or were left behind by a deliverer that was killed.
    """
    statement = select(col(Notification.id)).where(_deliverable(now))
    with store.reading() as session:
        return list(session.scalars(statement.order_by(col(Notification.next_attempt_at)).limit(limit)))


def deliver(store: Store, catalogs: CatalogCache, notification_id: str, now: datetime) -> NotificationState | None:
    """Send one message. Gives the state it is left in; None when it isn't due or somebody else has it."""
    claimed = _claim(store, catalogs, notification_id, now)
    if claimed is None:
        return None
    try:
        _send(claimed, now)
    except targets.TargetError as error:
        return _settle_unsent(store, claimed, now, error)
    return _settle(store, claimed, state=NotificationState.SENT, sent_at=now, last_error="")


def back_off(attempts: int) -> timedelta:
    """The pause after so many attempts: doubled each time, up to LONGEST_BACK_OFF."""
    return min(FIRST_BACK_OFF * float(2 ** min(attempts - 1, 16)), LONGEST_BACK_OFF)


def _send(claimed: _Claimed, now: datetime) -> None:
    if claimed.overtaken:
        return
    if claimed.untold:
        raise targets.PermanentTargetError("the opening never reached this target, so its end is not told either")
    if claimed.attempt > MAX_ATTEMPTS and not claimed.persists:
        raise targets.PermanentTargetError(f"no deliverer lived through {MAX_ATTEMPTS} attempts; see the log for why")
    if claimed.target is None:
        route, target = claimed.address
        raise targets.PermanentTargetError(f"the catalog has no target {target!r} in a route {route!r} any more")
    targets.send(claimed.target, claimed.message, targets.Delivery(claimed.id, claimed.attempt, now))


def _deliverable(now: datetime) -> ColumnElement[bool]:
    """Due, and not a closing whose opening is still on its way: people hear of the trouble before its end."""
    opening = aliased(Notification)
    opening_on_its_way = exists().where(
        col(opening.alert_id) == col(Notification.alert_id),
        col(opening.route) == col(Notification.route),
        col(opening.target) == col(Notification.target),
        col(opening.event) == Event.OPENED,
        col(opening.state).in_([NotificationState.PENDING, NotificationState.SENDING]),
    )
    return and_(
        UNSETTLED,
        col(Notification.next_attempt_at) <= now,
        (col(Notification.event) == Event.OPENED) | ~opening_on_its_way,
    )


def _claim(store: Store, catalogs: CatalogCache, notification_id: str, now: datetime) -> _Claimed | None:
    lease = now + LEASE
    statement = (
        update(Notification)
        .where(col(Notification.id) == notification_id, _deliverable(now))
        .values(state=NotificationState.SENDING, next_attempt_at=lease, attempts=col(Notification.attempts) + 1)
        .execution_options(synchronize_session=False)
    )
    with store.writing() as session:
        if session.execute(statement.returning(col(Notification.id))).one_or_none() is None:
            return None
        found = session.get_one(Notification, notification_id)
        still_open = session.get_one(Alert, found.alert_id).closed_at is None
        address = Address(found.route, found.target)
        target = target_at(catalogs.current(session), address)
        opening = found.event == Event.OPENED
        untold = not opening and _opening_lost(session, found)
    return _Claimed(
        id=notification_id,
        address=address,
        message=from_json(Message, found.payload),
        attempt=found.attempts,
        lease=lease,
        target=target,
        persists=opening and still_open and target is not None and targets.needs_repeats(target),
        overtaken=opening and found.sent_at is not None and not still_open,
        untold=untold,
    )


def _opening_lost(session: Session, closing: Notification) -> bool:
    statement = select(col(Notification.id)).where(
        col(Notification.alert_id) == closing.alert_id,
        col(Notification.route) == closing.route,
        col(Notification.target) == closing.target,
        col(Notification.event) == Event.OPENED,
        col(Notification.state) == NotificationState.FAILED,
        col(Notification.sent_at).is_(None),
    )
    return session.execute(statement).first() is not None


def _settle_unsent(
    store: Store, claimed: _Claimed, now: datetime, error: targets.TargetError
) -> NotificationState | None:
    """Put it back for later, or give it up: kept as failed, for `kubeprobe doctor` to show."""
    temporary = isinstance(error, targets.TemporaryTargetError)
    again = claimed.persists or (temporary and claimed.attempt < MAX_ATTEMPTS)
    log.warning(
        "alert not delivered",
        notification=claimed.id,
        route=claimed.address.route,
        target=claimed.address.target,
        attempt=claimed.attempt,
        again=again,
        error=str(error),
    )
    if not again:
        return _settle(store, claimed, state=NotificationState.FAILED, last_error=str(error))
    next_attempt_at = now + back_off(claimed.attempt)
    return _settle(
        store, claimed, state=NotificationState.PENDING, last_error=str(error), next_attempt_at=next_attempt_at
    )


def _settle(store: Store, claimed: _Claimed, **values: Any) -> NotificationState | None:
    """Write how it went, unless the lease ended and somebody else has taken over."""
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
