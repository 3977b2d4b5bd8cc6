"""Sends the notifications of the outbox, each until its target accepts it, or a newer one replaces it.

A notification is claimed (`claim`), sent outside of any transaction while the claim is renewed (`renewal`), and then
updated with the result. If the worker is killed in between, the claim lasts until its lease ends; then the notification
is sent again. Delivery is at least once: webhooks carry an id by which receivers drop duplicates, and a version by
which they drop what is older.

An unavailable target is retried for as long as messages wait for it: what it accepted last becomes what is stored.
A message is given up only if the target refuses it for good, or rejects it MAX_ATTEMPTS times while it accepts others,
or if MAX_CRASHES attempts in a row end the worker or fail unexpectedly.

Alertmanager forgets alerts that are not repeated: while the alert is open, `housekeeping.repeat_alerts` puts the
opening's notification back into the outbox, even if it was given up.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy import update
from sqlmodel import Session, col

from kubeprobe import metrics
from kubeprobe.backoff import Backoff
from kubeprobe.catalog import CatalogCache
from kubeprobe.clock import Clock, TimeLimit
from kubeprobe.fleet.errors import LocalResourceError
from kubeprobe.jsonmodel import from_json
from kubeprobe.response import targets
from kubeprobe.response.claim import MAX_CONCURRENT, Claimed, claim_next, has_due, is_claim, newest_sent
from kubeprobe.response.message import Message
from kubeprobe.response.renewal import ClaimLostError, ClaimRenewals
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Notification, Store, TargetHealth
from kubeprobe.vocabulary import NotificationState

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first=timedelta(seconds=10), longest=timedelta(minutes=10))
LONGEST_RETRY_AFTER = timedelta(hours=1)
"""The longest pause that a target can request."""
MAX_ATTEMPTS = 12
"""Rejections of a message by a target that accepts others."""
MAX_CRASHES = 5
"""Consecutive attempts at one message that kill their worker, or fail in a way that no target should."""
DELIVER_FOR = timedelta(seconds=0.5)
"""How long a thread goes on with the next message to a target; then it is another target's turn."""

_CLAIMS = ClaimRenewals()

_RESULTS = {
    NotificationState.SENT: "sent",
    NotificationState.PENDING: "retried",
    NotificationState.FAILED: "failed",
    None: "retried",  # the lease ended meanwhile: another worker sends it again
}


def deliver_all(
    store: Store, catalogs: CatalogCache, to: TargetRef, clock: Clock, start_another: Callable[[], object]
) -> bool:
    """Send the messages to a target one after another. Returns whether more may be due: it is other targets' turn.

    Once one is accepted, other threads are started to send more at the same time.
    """
    limit, is_alone = TimeLimit(DELIVER_FOR), True
    while state := deliver(store, catalogs, to, clock):
        if limit.is_over:
            return True
        if is_alone and state is NotificationState.SENT and has_due(store, to, clock()):
            is_alone = False
            for _ in range(MAX_CONCURRENT - 1):
                start_another()
    return False


def deliver(store: Store, catalogs: CatalogCache, to: TargetRef, clock: Clock) -> NotificationState | None:
    """Send the next message to a target. Returns its new state; None if none can be sent now."""
    claimed = claim_next(store, catalogs, to, clock, _CLAIMS.list_claims)
    if claimed is None:
        return None
    state, can_go_on = None, True
    try:
        with _CLAIMS.renewing(store, claimed, clock):
            state = _send_and_record(store, claimed, clock)
    except ClaimLostError:
        log.warning("claim lost before its notification was sent", notification=claimed.id)
    except LocalResourceError as error:
        log.warning("notification not sent", notification=claimed.id, error=str(error))
        state, can_go_on = _record_unsent(store, claimed, clock(), error), False
    metrics.record_delivery(targets.kind_of(claimed.target), _RESULTS[state])
    return (state or NotificationState.SENDING) if can_go_on else None


def _send_and_record(store: Store, claimed: Claimed, clock: Clock) -> NotificationState | None:
    try:
        _send(claimed, clock())
    except LocalResourceError:
        raise
    except targets.TargetError as error:
        return _record_failure(store, claimed, clock(), error)
    except Exception as error:
        log.exception("notification not delivered: unexpected error", notification=claimed.id, **claimed.to._asdict())
        return _record_crash(store, claimed, clock(), error)
    return _record_success(store, claimed, clock())


def _send(claimed: Claimed, now: datetime) -> None:
    if claimed.crashes >= MAX_CRASHES:
        raise targets.PermanentTargetError(f"responders were killed in each of {claimed.crashes} attempts")
    if claimed.target is None:
        route, target = claimed.to
        if claimed.is_route_unreadable:
            problem = f"route {route!r} is invalid in this version of KubeProbe; correct it, or upgrade this responder"
            raise targets.TemporaryTargetError(problem)
        raise targets.PermanentTargetError(f"the catalog no longer has a target {target!r} in a route {route!r}")
    try:
        message = from_json(Message, claimed.payload)
    except (ValidationError, TypeError, ValueError) as error:
        raise targets.PermanentTargetError(f"the stored message is invalid: {type(error).__name__}") from error
    targets.send(claimed.target, message, targets.Delivery(claimed.id, claimed.attempt, now))


def _record_success(store: Store, claimed: Claimed, now: datetime) -> NotificationState | None:
    with store.writing() as session:
        _update_target(session, claimed, failures=0, failing_since=None, retry_at=None, last_error="", accepted_at=now)
        return _record(
            session, claimed, now, state=NotificationState.SENT, sent_at=now, last_error="", rejections=0, crashes=0
        )


def _record_failure(
    store: Store, claimed: Claimed, now: datetime, error: targets.TargetError
) -> NotificationState | None:
    """Schedule the next attempt, or keep it as failed, which `kubeprobe doctor` shows."""
    is_temporary = isinstance(error, targets.TemporaryTargetError)
    rejections = claimed.rejections + (is_temporary and not claimed.target_failures)
    will_retry = is_temporary and rejections < MAX_ATTEMPTS
    log.warning(
        "notification not delivered",
        notification=claimed.id,
        route=claimed.to.route,
        target=claimed.to.target,
        attempt=claimed.attempt,
        will_retry=will_retry,
        error=str(error),
    )
    values: dict[str, Any] = {"last_error": str(error), "rejections": rejections, "crashes": 0}
    if not error.may_have_arrived:
        values["may_have_arrived"] = claimed.arrived_before
    with store.writing() as session:
        pause = _pause(error, claimed.target_failures + 1)
        if is_temporary:
            _update_target(
                session,
                claimed,
                failures=claimed.target_failures + 1,
                retry_at=now + pause,
                last_error=str(error),
                **({} if claimed.target_failures else {"failing_since": now}),
            )
        if not will_retry:
            return _record(session, claimed, now, state=NotificationState.FAILED, next_attempt_at=now, **values)
        pause = max(pause, BACKOFF.pause(rejections))
        return _record(session, claimed, now, state=NotificationState.PENDING, next_attempt_at=now + pause, **values)


def _record_unsent(
    store: Store, claimed: Claimed, now: datetime, error: LocalResourceError
) -> NotificationState | None:
    """Schedule the next attempt: this one used nothing of the target, and counts for neither."""
    with store.writing() as session:
        return _record(
            session,
            claimed,
            now,
            state=NotificationState.PENDING,
            next_attempt_at=now + BACKOFF.first,
            may_have_arrived=claimed.arrived_before,
            last_error=str(error),
        )


def _record_crash(store: Store, claimed: Claimed, now: datetime, error: Exception) -> NotificationState | None:
    """An error that no target should raise: the message is set aside when it happens again and again."""
    is_last = claimed.crashes + 1 >= MAX_CRASHES
    with store.writing() as session:
        return _record(
            session,
            claimed,
            now,
            state=NotificationState.FAILED if is_last else NotificationState.PENDING,
            next_attempt_at=now if is_last else now + BACKOFF.pause(claimed.attempt),
            crashes=claimed.crashes + 1,
            last_error=f"unexpected {type(error).__name__}; the responder's log has the details",
        )


def _pause(error: targets.TargetError, failures: int) -> timedelta:
    """The pause that the target requested, or the next one if that is longer."""
    pause = BACKOFF.pause(failures)
    return pause if error.retry_after is None else min(max(error.retry_after, pause), LONGEST_RETRY_AFTER)


def _update_target(session: Session, claimed: Claimed, **values: Any) -> None:
    """Record whether the target accepts messages. Messages that failed at the same time count as one failure."""
    conditions = [col(TargetHealth.route) == claimed.to.route, col(TargetHealth.target) == claimed.to.target]
    if values["failures"]:
        conditions.append(col(TargetHealth.failures) == claimed.target_failures)
    statement = update(TargetHealth).where(*conditions).values(**values)
    session.execute(statement.execution_options(synchronize_session=False))


def _record(session: Session, claimed: Claimed, now: datetime, **values: Any) -> NotificationState | None:
    """Write the result, unless the lease ended and another worker has claimed the notification.

    In that case the target may have received it after newer messages: the newest of them are sent once more.
    """
    statement = (
        update(Notification)
        .where(is_claim(claimed))
        .values(**values)
        .returning(col(Notification.state))
        .execution_options(synchronize_session=False)
    )
    state = session.execute(statement).scalar_one_or_none()
    if state is None and (overtaken := newest_sent(session, claimed)):
        session.execute(
            update(Notification)
            .where(col(Notification.id).in_(overtaken))
            .values(state=NotificationState.PENDING, next_attempt_at=now, attempts=col(Notification.attempts) + 1)
            .execution_options(synchronize_session=False)
        )
    return NotificationState(state) if state else None
