"""What beat has done from time to time: repeat alerts, end what nobody watches any more, forget what is old.

The first two return the notifications that are to be delivered.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import ColumnElement, and_, delete, exists, or_, tuple_, update
from sqlmodel import Session, col, select

from kubeprobe.catalog import CatalogCache
from kubeprobe.effects import Effects
from kubeprobe.jsonmodel import from_json
from kubeprobe.response.deliver import due_notifications
from kubeprobe.response.fold import Event
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.notices import address_of, told_of_opening, write
from kubeprobe.response.outcomes import unanswered
from kubeprobe.response.respond import BATCH
from kubeprobe.response.targets import needs_repeats
from kubeprobe.store import Alert, Cluster, Node, Notification, Standing, Store
from kubeprobe.vocabulary import SOME_NODE, NotificationState

REPEAT_EVERY = timedelta(minutes=1)
"""Well below `targets.alertmanager.HOLD`: some repeats may be missed before an alert resolves by itself."""


def repeat_alerts(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Put the openings of open alerts back into the outbox, for the targets that forget (Alertmanager)."""
    with store.writing() as session:
        catalog = catalogs.current(session)
        forgetful = [
            (name, target.name)
            for name, route in catalog.routes.items()
            for target in route.targets
            if needs_repeats(target)
        ]
        if not forgetful:
            return Effects()
        still_open = select(Alert.id).where(col(Alert.closed_at).is_(None))
        statement = (
            update(Notification)
            .where(
                col(Notification.alert_id).in_(still_open),
                col(Notification.event) == Event.OPENED,
                col(Notification.state) == NotificationState.SENT,
                col(Notification.sent_at) <= now - REPEAT_EVERY,
                tuple_(col(Notification.route), col(Notification.target)).in_(forgetful),
            )
            .values(state=NotificationState.PENDING, next_attempt_at=now, attempts=0)
            .returning(col(Notification.id))
            .execution_options(synchronize_session=False)
        )
        return Effects(deliver=list(session.scalars(statement)))


def close_withdrawn(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Close the alerts of cases, clusters and nodes that are no more: no outcome would ever close them.

    Whoever was told of the opening hears that nobody watches any more, which is no recovery.
    """
    with store.writing() as session:
        cases = list(catalogs.current(session).cases)
        unknown_cluster = ~exists().where(col(Cluster.name) == col(Alert.cluster))
        statement = (
            select(Alert)
            .where(
                col(Alert.closed_at).is_(None),
                or_(unknown_cluster, col(Alert.case).not_in(cases), _node_left(Alert, Alert.opened_at)),
            )
            .with_for_update()
        )
        withdrawn = session.exec(statement).all()
        for alert in withdrawn:
            alert.closed_at = now
        told = told_of_opening(session, [alert.id for alert in withdrawn])
        notifications = [
            write(alert, Event.CLOSED, address_of(opened), _withdrawal(alert, opened, now), now)
            for alert in withdrawn
            for opened in told.get(alert.id, ())
        ]
        session.add_all(notifications)
        _drop_standings(session, cases)
        return Effects(deliver=[notification.id for notification in notifications])


def overdue(store: Store, now: datetime) -> Effects:
    """Outcomes that nobody has answered and notifications that are due: their wake was lost, or their time has come."""
    return Effects(responders=ceil(unanswered(store) / BATCH), deliver=due_notifications(store, now))


def forget_alerts(store: Store, before: datetime) -> int:
    """Remove the alerts that closed earlier, with what was told of them; gives their number."""
    old = select(Alert.id).where(col(Alert.closed_at) < before)
    with store.writing() as session:
        session.execute(delete(Notification).where(col(Notification.alert_id).in_(old)))
        gone = session.scalars(delete(Alert).where(col(Alert.closed_at) < before).returning(col(Alert.id)))
        return len(gone.all())


def _withdrawal(alert: Alert, opened: Notification, now: datetime) -> Message:
    why = "the case or the cluster was removed" + (", or the node has left" if alert.node else "")
    message = from_json(Message, opened.payload)
    return replace(message, kind=MessageKind.WITHDRAWN, reason="Withdrawn", why=why, errors=(), until=now)


def _drop_standings(session: Session, cases: list[str]) -> None:
    unknown_cluster = ~exists().where(col(Cluster.name) == col(Standing.cluster))
    gone = or_(unknown_cluster, col(Standing.case).not_in(cases), _node_left(Standing, Standing.due_at))
    session.execute(delete(Standing).where(gone))


def _node_left(row: type[Alert | Standing], since: datetime) -> ColumnElement[bool]:
    """Of rows about a node that is no longer in its cluster, as far as the cluster's nodes are known.

    Another machine under its name, which the cluster has got later, is not that node. And of those about the nodes as a
    whole, where no binding asks for nodes any more.
    """
    is_known = exists().where(col(Cluster.name) == col(row.cluster), col(Cluster.nodes_listed_at).is_not(None))
    is_there = exists().where(
        col(Node.cluster) == col(row.cluster), col(Node.name) == col(row.node), col(Node.created_at) <= col(since)
    )
    is_watched = exists().where(col(Cluster.name) == col(row.cluster), col(Cluster.watches_nodes).is_(other=True))
    return or_(
        and_(col(row.node).not_in(("", SOME_NODE)), is_known, ~is_there),
        and_(col(row.node) == SOME_NODE, ~is_watched),
    )
