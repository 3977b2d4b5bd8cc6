"""Writes notifications into the outbox: which targets are notified of an alert's opening and closing. Next: `deliver`.

They are committed together with the alert: none is lost, and none is sent for an alert that was rolled back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from pydantic import ValidationError
from sqlalchemy import func, tuple_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select
from ulid import ULID

from kubeprobe.catalog import Catalog
from kubeprobe.jsonmodel import from_json, to_json
from kubeprobe.response.alerts import AlertUpdate
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import Message, explanation, message_kind, reported_errors
from kubeprobe.response.outcomes import ClaimedOutcome, find_outcome
from kubeprobe.response.routes import AlertAttributes, TargetRef, target_of, targets_for
from kubeprobe.store import Alert, Cluster, Notification
from kubeprobe.vocabulary import AlertKind

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxEntries:
    """The notifications that were written, and the messages of opened alerts that no route matches."""

    notifications: tuple[Notification, ...]
    unrouted: tuple[Message, ...]
    set_aside: int = 0
    """Outcomes that could not be processed."""


def write_notifications(
    session: Session, catalog: Catalog, clusters: Mapping[str, Cluster], updates: Sequence[AlertUpdate], now: datetime
) -> OutboxEntries:
    """Write one notification for each update and target.

    An opening is for the targets of the routes that match now; a closing for those of the opening, with its severity
    and owner, so that receivers can match the two. (Whether a target needs it is decided when it is sent: `claim`.)
    """
    versions = Versions.read(session, [update.alert for update in updates], now)
    unreadable = sorted(catalog.unreadable_of("AlertRoute")) or None
    closing = [update.alert.id for update in updates if update.event is AlertEvent.CLOSED]
    openings = opening_notifications(session, closing)
    written: list[Notification] = []
    unrouted: list[Message] = []
    for update in updates:
        alert = update.alert
        if update.event is AlertEvent.OPENED:
            message = _opening(catalog, alert, update.outcome, versions.next(alert))
            alert.unreadable_routes = unreadable
            labels = clusters[alert.cluster].labels if alert.cluster in clusters else {}
            matching = targets_for(catalog, _attributes(alert, message, labels))
            added = [new_notification(alert, AlertEvent.OPENED, to, message, now) for to in matching]
            openings[alert.id] = added
            if not added:
                unrouted.append(message)
        else:
            version = versions.next(alert)
            added = [
                new_notification(alert, AlertEvent.CLOSED, target_of(opened), _closing(opened, update, version), now)
                for opened in openings.get(alert.id, ())
            ]
        written += added
    session.add_all(written)
    return OutboxEntries(tuple(written), tuple(unrouted))


def write_deferred(
    session: Session,
    catalog: Catalog,
    labels: Mapping[str, Mapping[str, str]],
    alerts: Sequence[Alert],
    now: datetime,
) -> list[Notification]:
    """Write the openings for the targets of routes that were unreadable when an alert opened, and now are not.

    `labels`: of clusters, by name. An alert whose message cannot be written gets none, and is tried again.
    """
    unreadable = catalog.unreadable_of("AlertRoute").keys()
    openings = opening_notifications(session, [alert.id for alert in alerts])
    versions = Versions.read(session, alerts, now)
    written: list[Notification] = []
    for alert in alerts:
        deferred = frozenset(alert.unreadable_routes or ())
        if not (readable := deferred - unreadable):
            continue
        try:
            with session.begin_nested():
                alert.unreadable_routes = sorted(deferred - readable) or None
                message = _late_opening(session, catalog, alert, versions.next(alert))
                notified = {target_of(opened) for opened in openings.get(alert.id, ())}
                added = [
                    new_notification(alert, AlertEvent.OPENED, to, message, now)
                    for to in targets_for(catalog, _attributes(alert, message, labels.get(alert.cluster, {})))
                    if to.route in readable and to not in notified
                ]
                session.add_all(added)
        except (IntegrityError, ValueError):
            log.exception("opening not sent to targets that are readable now", alert=alert.id)
        else:
            written += added
    return written


def opening_notifications(session: Session, alerts: Iterable[str]) -> dict[str, list[Notification]]:
    """The notifications of the openings of these alerts, by alert."""
    ids = list(alerts)
    if not ids:
        return {}
    statement = select(Notification).where(
        col(Notification.alert_id).in_(ids),
        col(Notification.event) == AlertEvent.OPENED,
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
        cluster=alert.cluster,
        case=alert.case,
        node=alert.node,
        kind=alert.kind,
        version=message.version,
        payload=to_json(message),
        next_attempt_at=now,
    )


class Versions:
    """The versions of messages: they grow with every message about a case on a subject.

    Milliseconds since 1970, or one more than the last: receivers that remember a version longer than the store keeps
    its notification still get a higher one.
    """

    def __init__(self, newest: Mapping[tuple[str, str, str], int], now: datetime) -> None:
        self._newest = dict(newest)
        self._least = int(now.timestamp() * 1000)

    @classmethod
    def read(cls, session: Session, alerts: Iterable[Alert], now: datetime) -> "Versions":
        """Those of the subjects of these alerts."""
        row = (col(Notification.cluster), col(Notification.case), col(Notification.node))
        keys = sorted({(alert.cluster, alert.case, alert.node) for alert in alerts})
        if not keys:
            return cls({}, now)
        statement = select(*row, func.max(col(Notification.version))).where(tuple_(*row).in_(keys)).group_by(*row)
        found = {(cluster, case, node): newest for cluster, case, node, newest in session.exec(statement)}
        return cls(found, now)

    def next(self, alert: Alert) -> int:
        """The version of the next message about an alert."""
        key = (alert.cluster, alert.case, alert.node)
        self._newest[key] = max(self._newest.get(key, 0) + 1, self._least)
        return self._newest[key]


def message_of(opened: Notification, alert: Alert) -> Message:
    """The opening's message; what the alert has of it, if it cannot be read."""
    try:
        return from_json(Message, opened.payload)
    except (ValidationError, TypeError, ValueError):
        return _message_of_alert(alert)


def _message_of_alert(alert: Alert) -> Message:
    return Message(
        kind=message_kind(AlertKind(alert.kind), AlertEvent.OPENED),
        alert=alert.id,
        alert_kind=AlertKind(alert.kind),
        run=alert.first_run_id,
        case=alert.case,
        subject=alert.subject,
        severity=alert.severity,
        owner="",
        runbook="",
        verdict=alert.kind,
        reason=alert.reason,
        why=alert.message,
        errors=(),
        since=alert.opened_at,
    )


def _attributes(alert: Alert, message: Message, labels: Mapping[str, str]) -> AlertAttributes:
    return AlertAttributes(alert.case, alert.kind, alert.severity, message.owner, labels)


def _late_opening(session: Session, catalog: Catalog, alert: Alert, version: int) -> Message:
    """The opening's message, from the outcome that opened the alert if that is still stored."""
    outcome = find_outcome(session, alert.first_run_id)
    if outcome is None:
        return replace(_message_of_alert(alert), version=version)
    return _opening(catalog, alert, outcome, version)


def _opening(catalog: Catalog, alert: Alert, outcome: ClaimedOutcome, version: int) -> Message:
    case, unreadable = catalog.cases.get(alert.case), catalog.unreadable.get(("ProbeCase", alert.case))
    kind = AlertKind(alert.kind)
    return Message(
        kind=message_kind(kind, AlertEvent.OPENED),
        alert=alert.id,
        alert_kind=kind,
        run=outcome.run_id,
        case=alert.case,
        subject=alert.subject,
        severity=alert.severity,
        owner=case.owner if case else (unreadable and unreadable.text("owner")) or "",
        runbook=(case.runbook or "") if case else "",
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=explanation(outcome),
        errors=reported_errors(outcome),
        since=alert.opened_at,
        version=version,
    )


def _closing(opened: Notification, update: AlertUpdate, version: int) -> Message:
    alert, outcome = update.alert, update.outcome
    return replace(
        message_of(opened, alert),
        kind=message_kind(AlertKind(alert.kind), AlertEvent.CLOSED),
        run=outcome.run_id,
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=explanation(outcome),
        errors=reported_errors(outcome),
        until=alert.closed_at,
        version=version,
    )
