"""Writing notifications into the outbox: who is told of which alert's opening and closing. Next: `deliver`.

They are committed together with the alert, so that none is told of what did not happen, and none is lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session, col, or_, select
from ulid import ULID

from kubeprobe.catalog import Catalog
from kubeprobe.jsonmodel import from_json, to_json
from kubeprobe.response.alerts import Happening
from kubeprobe.response.fold import Event
from kubeprobe.response.message import Message, message_kind, reported_errors
from kubeprobe.response.routes import Address, Facts, addresses_for
from kubeprobe.store import Alert, Cluster, Notification
from kubeprobe.vocabulary import AlertKind, NotificationState


@dataclass(frozen=True, slots=True)
class Notices:
    """What a batch puts into the outbox, and the opened alerts that no route is for."""

    notifications: tuple[Notification, ...]
    unrouted: tuple[Message, ...]


def notify(
    session: Session, catalog: Catalog, clusters: Mapping[str, Cluster], happenings: Sequence[Happening], now: datetime
) -> Notices:
    """Write one notification for each happening and target.

    An opening goes to the targets of the routes that match now; a closing to those that were told of the opening,
    in the opening's words for severity and owner, so that receivers can tell that both belong together.
    """
    closing = [happening.alert.id for happening in happenings if happening.event is Event.CLOSED]
    told = told_of_opening(session, closing)
    written: list[Notification] = []
    unrouted: list[Message] = []
    for happening in happenings:
        alert = happening.alert
        if happening.event is Event.OPENED:
            message = _opening(catalog, happening)
            labels = clusters[alert.cluster].labels if alert.cluster in clusters else {}
            facts = Facts(alert.case, alert.kind, alert.severity, message.owner, labels)
            added = [write(alert, Event.OPENED, to, message, now) for to in addresses_for(catalog, facts)]
            told[alert.id] = added
            if not added:
                unrouted.append(message)
        else:
            added = [
                write(alert, Event.CLOSED, address_of(opened), _closing(opened, happening), now)
                for opened in told.get(alert.id, ())
            ]
        written += added
    session.add_all(written)
    return Notices(tuple(written), tuple(unrouted))


def told_of_opening(session: Session, alerts: Iterable[str]) -> dict[str, list[Notification]]:
    """The opening's notifications of these alerts, but for those that never arrived and never will."""
    wanted = list(alerts)
    if not wanted:
        return {}
    statement = select(Notification).where(
        col(Notification.alert_id).in_(wanted),
        col(Notification.event) == Event.OPENED,
        or_(col(Notification.state) != NotificationState.FAILED, col(Notification.sent_at).is_not(None)),
    )
    told: dict[str, list[Notification]] = {}
    for notification in session.exec(statement.order_by(col(Notification.id))):
        told.setdefault(notification.alert_id, []).append(notification)
    return told


def write(alert: Alert, event: Event, to: Address, message: Message, now: datetime) -> Notification:
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


def address_of(notification: Notification) -> Address:
    """Where a notification goes."""
    return Address(notification.route, notification.target)


def _opening(catalog: Catalog, happening: Happening) -> Message:
    alert, outcome = happening.alert, happening.outcome
    case = catalog.cases.get(alert.case)
    kind = AlertKind(alert.kind)
    return Message(
        kind=message_kind(kind, Event.OPENED),
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


def _closing(opened: Notification, happening: Happening) -> Message:
    alert, outcome = happening.alert, happening.outcome
    return replace(
        from_json(Message, opened.payload),
        kind=message_kind(AlertKind(alert.kind), Event.CLOSED),
        run=outcome.run_id,
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=outcome.message,
        errors=reported_errors(outcome),
        until=alert.closed_at,
    )
