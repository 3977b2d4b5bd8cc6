"""Writing notifications into the outbox: who is told of which incident's opening and closing. Next: `deliver`.

They are committed together with the incident, so that none is told of what did not happen, and none is lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session, col, or_, select
from ulid import ULID

from kubeprobe.catalog import Catalog
from kubeprobe.response.fold import Event
from kubeprobe.response.incidents import Happening
from kubeprobe.response.message import Message, message_kind, reported_errors
from kubeprobe.response.routes import Address, Facts, addresses_for
from kubeprobe.store import Cluster, Incident, Notification
from kubeprobe.vocabulary import IncidentKind, NotificationState


@dataclass(frozen=True, slots=True)
class Notices:
    """What a batch puts into the outbox, and the opened incidents that no route is for."""

    notifications: tuple[Notification, ...]
    unrouted: tuple[Message, ...]


def notify(
    session: Session, catalog: Catalog, clusters: Mapping[str, Cluster], happenings: Sequence[Happening], now: datetime
) -> Notices:
    """Write one notification for each happening and target.

    An opening goes to the targets of the routes that match now; a closing to those that were told of the opening,
    in the opening's words for severity and owner, so that receivers can tell that both belong together.
    """
    closing = [happening.incident.id for happening in happenings if happening.event is Event.CLOSED]
    told = told_of_opening(session, closing)
    written: list[Notification] = []
    unrouted: list[Message] = []
    for happening in happenings:
        incident = happening.incident
        if happening.event is Event.OPENED:
            message = _opening(catalog, happening)
            labels = clusters[incident.cluster].labels if incident.cluster in clusters else {}
            facts = Facts(incident.case, incident.kind, incident.severity, message.owner, labels)
            added = [write(incident, Event.OPENED, to, message, now) for to in addresses_for(catalog, facts)]
            told[incident.id] = added
            if not added:
                unrouted.append(message)
        else:
            added = [
                write(incident, Event.CLOSED, address_of(opened), _closing(opened, happening), now)
                for opened in told.get(incident.id, ())
            ]
        written += added
    session.add_all(written)
    return Notices(tuple(written), tuple(unrouted))


def told_of_opening(session: Session, incidents: Iterable[str]) -> dict[str, list[Notification]]:
    """The opening's notifications of these incidents, but for those that never arrived and never will."""
    wanted = list(incidents)
    if not wanted:
        return {}
    statement = select(Notification).where(
        col(Notification.incident_id).in_(wanted),
        col(Notification.event) == Event.OPENED,
        or_(col(Notification.state) != NotificationState.FAILED, col(Notification.sent_at).is_not(None)),
    )
    told: dict[str, list[Notification]] = {}
    for notification in session.exec(statement.order_by(col(Notification.id))):
        told.setdefault(notification.incident_id, []).append(notification)
    return told


def write(incident: Incident, event: Event, to: Address, message: Message, now: datetime) -> Notification:
    """A notification that is due at once."""
    return Notification(
        id=str(ULID.from_datetime(now)).lower(),
        incident_id=incident.id,
        event=event,
        route=to.route,
        target=to.target,
        payload=message.to_json(),
        next_attempt_at=now,
    )


def address_of(notification: Notification) -> Address:
    """Where a notification goes."""
    return Address(notification.route, notification.target)


def _opening(catalog: Catalog, happening: Happening) -> Message:
    incident, outcome = happening.incident, happening.outcome
    case = catalog.cases.get(incident.case)
    kind = IncidentKind(incident.kind)
    return Message(
        kind=message_kind(kind, Event.OPENED),
        incident=incident.id,
        incident_kind=kind,
        run=outcome.run_id,
        case=incident.case,
        cluster=incident.cluster,
        node=incident.node,
        severity=incident.severity,
        owner=case.owner if case else "",
        runbook=(case.runbook or "") if case else "",
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=outcome.message,
        errors=reported_errors(outcome),
        since=incident.opened_at,
    )


def _closing(opened: Notification, happening: Happening) -> Message:
    incident, outcome = happening.incident, happening.outcome
    return replace(
        Message.from_json(opened.payload),
        kind=message_kind(IncidentKind(incident.kind), Event.CLOSED),
        run=outcome.run_id,
        verdict=outcome.verdict,
        reason=outcome.reason,
        why=outcome.message,
        errors=reported_errors(outcome),
        until=incident.closed_at,
    )
