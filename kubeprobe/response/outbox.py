"""Writes notifications into the outbox: which targets are notified of an alert's opening and closing. Next: `deliver`.

They are committed together with the alert: none is lost, and none is sent for an alert that was rolled back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session, col, or_, select
from ulid import ULID

from kubeprobe.catalog import Catalog
from kubeprobe.jsonmodel import from_json, to_json
from kubeprobe.response.alerts import AlertUpdate
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import Message, message_kind, reported_errors
from kubeprobe.response.routes import AlertAttributes, TargetRef, targets_for
from kubeprobe.store import Alert, Cluster, Notification
from kubeprobe.vocabulary import AlertKind, NotificationState


@dataclass(frozen=True, slots=True)
class OutboxEntries:
    """The notifications that were written, and the messages of opened alerts that no route matches."""

    notifications: tuple[Notification, ...]
    unrouted: tuple[Message, ...]


def write_notifications(
    session: Session, catalog: Catalog, clusters: Mapping[str, Cluster], updates: Sequence[AlertUpdate], now: datetime
) -> OutboxEntries:
    """Write one notification for each update and target.

    An opening is for the targets of the routes that match now; a closing for those that received the opening or still
    will, with the opening's severity and owner, so that receivers can match the two.
    """
    closing = [update.alert.id for update in updates if update.event is AlertEvent.CLOSED]
    openings = opening_notifications(session, closing)
    written: list[Notification] = []
    unrouted: list[Message] = []
    for update in updates:
        alert = update.alert
        if update.event is AlertEvent.OPENED:
            message = _opening(catalog, update)
            labels = clusters[alert.cluster].labels if alert.cluster in clusters else {}
            attributes = AlertAttributes(alert.case, alert.kind, alert.severity, message.owner, labels)
            matching = targets_for(catalog, attributes)
            added = [new_notification(alert, AlertEvent.OPENED, to, message, now) for to in matching]
            openings[alert.id] = added
            if not added:
                unrouted.append(message)
        else:
            added = [
                new_notification(alert, AlertEvent.CLOSED, target_of(opened), _closing(opened, update), now)
                for opened in openings.get(alert.id, ())
            ]
        written += added
    session.add_all(written)
    return OutboxEntries(tuple(written), tuple(unrouted))


def opening_notifications(session: Session, alerts: Iterable[str]) -> dict[str, list[Notification]]:
    """The notifications of the openings of these alerts, by alert; without those that failed and were never sent."""
    ids = list(alerts)
    if not ids:
        return {}
    statement = select(Notification).where(
        col(Notification.alert_id).in_(ids),
        col(Notification.event) == AlertEvent.OPENED,
        or_(col(Notification.state) != NotificationState.FAILED, col(Notification.sent_at).is_not(None)),
    )
    found: dict[str, list[Notification]] = {}
    for notification in session.exec(statement.order_by(col(Notification.id))):
        found.setdefault(notification.alert_id, []).append(notification)
    return found


def new_notification(alert: Alert, event: AlertEvent, to: TargetRef, message: Message, now: datetime) -> Notification:
    """A notification that is due at once."""
    return Notification(
        id=str(ULID.from_datetime(now)).lower(),
        alert_id=alert.id,
        event=event,
        route=to.route,
        target=to.target,
        payload=to_json(message),
        next_attempt_at=now,
    )


def target_of(notification: Notification) -> TargetRef:
    """The target of a notification."""
    return TargetRef(notification.route, notification.target)


def _opening(catalog: Catalog, update: AlertUpdate) -> Message:
    alert, outcome = update.alert, update.outcome
    case = catalog.cases.get(alert.case)
    kind = AlertKind(alert.kind)
    return Message(
        kind=message_kind(kind, AlertEvent.OPENED),
        alert=alert.id,
        alert_kind=kind,
        run=outcome.run_id,
        case=alert.case,
        subject=alert.subject,
        severity=alert.severity,
        owner=case.owner if case else "",
        runbook=(case.runbook or "") if case else "",
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=outcome.message,
        errors=reported_errors(outcome),
        since=alert.opened_at,
    )


def _closing(opened: Notification, update: AlertUpdate) -> Message:
    alert, outcome = update.alert, update.outcome
    return replace(
        from_json(Message, opened.payload),
        kind=message_kind(AlertKind(alert.kind), AlertEvent.CLOSED),
        run=outcome.run_id,
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=outcome.message,
        errors=reported_errors(outcome),
        until=alert.closed_at,
    )
