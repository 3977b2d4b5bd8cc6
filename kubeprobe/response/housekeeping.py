"""Periodic tasks, issued by beat: repeat alerts, close withdrawn ones, resend what is due, delete old alerts."""

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

import structlog
from sqlalchemy import ColumnElement, and_, delete, exists, or_, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from kubeprobe.catalog import CatalogCache
from kubeprobe.effects import Effects
from kubeprobe.response.claim import due_targets
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.outbox import Versions, message_of, new_notification, opening_notifications, target_of
from kubeprobe.response.outcomes import count_unprocessed_outcomes
from kubeprobe.response.respond import BATCH
from kubeprobe.response.routes import TargetRef
from kubeprobe.response.targets import needs_repeats
from kubeprobe.store import Alert, Cluster, Node, Notification, ResponseError, Standing, Store, TargetHealth
from kubeprobe.vocabulary import SOME_NODE, NotificationState

log = structlog.get_logger(__name__)

REPEAT_EVERY = timedelta(minutes=1)
"""Well below `targets.alertmanager.HOLD`: an alert stays open in Alertmanager when a few repeats fail."""


def repeat_alerts(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Put the openings of open alerts back into the outbox, for targets that need repeats (Alertmanager)."""
    with store.writing() as session:
        catalog = catalogs.current(session)
        repeated_to = [
            (name, target.name)
            for name, route in catalog.routes.items()
            for target in route.targets
            if needs_repeats(target)
        ]
        if not repeated_to:
            return Effects()
        still_open = select(Alert.id).where(col(Alert.closed_at).is_(None))
        statement = (
            update(Notification)
            .where(
                col(Notification.alert_id).in_(still_open),
                col(Notification.event) == AlertEvent.OPENED,
                col(Notification.state) == NotificationState.SENT,
                col(Notification.sent_at) <= now - REPEAT_EVERY,
                tuple_(col(Notification.route), col(Notification.target)).in_(repeated_to),
            )
            .values(state=NotificationState.PENDING, next_attempt_at=now)
            .returning(col(Notification.route), col(Notification.target))
            .execution_options(synchronize_session=False)
        )
        return Effects(deliver=sorted({TargetRef(route, target) for route, target in session.execute(statement)}))


def close_withdrawn(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Close the alerts of cases, clusters and nodes that no longer exist: no outcome would ever close them.

    Targets that received the opening get a `withdrawn` message: the case is no longer probed there, which is not a
    recovery.
    """
    with store.writing() as session:
        cases = list(catalogs.current(session).case_names())
        unknown_cluster = ~exists().where(col(Cluster.name) == col(Alert.cluster))
        statement = (
            select(Alert)
            .where(
                col(Alert.closed_at).is_(None),
                or_(unknown_cluster, col(Alert.case).not_in(cases), _is_node_removed(Alert, Alert.opened_at)),
            )
            .with_for_update()
        )
        withdrawn = session.exec(statement).all()
        for alert in withdrawn:
            alert.closed_at = now
        openings = opening_notifications(session, [alert.id for alert in withdrawn])
        versions = Versions.read(session, withdrawn, now)
        due = set[TargetRef]()
        for alert in withdrawn:
            version = versions.next(alert)
            try:
                with session.begin_nested():
                    for opened in openings.get(alert.id, ()):
                        to, message = target_of(opened), _withdrawal(alert, opened, now, version)
                        session.add(new_notification(alert, AlertEvent.CLOSED, to, message, now))
                        due.add(to)
            except (IntegrityError, ValueError):
                log.exception("withdrawn alert closed without a message", alert=alert.id)
        _delete_standings(session, cases)
        return Effects(deliver=sorted(due))


def due_effects(store: Store, now: datetime) -> Effects:
    """Pending outcomes and due notifications: their message was lost, or another attempt is due."""
    return Effects(responders=ceil(count_unprocessed_outcomes(store) / BATCH), deliver=due_targets(store, now))


def delete_old_alerts(store: Store, before: datetime) -> int:
    """Delete a batch of the alerts that closed earlier, with their notifications; returns the number of alerts."""
    with store.writing() as session:
        old = session.exec(select(Alert.id).where(col(Alert.closed_at) < before).limit(BATCH)).all()
        session.execute(delete(Notification).where(col(Notification.alert_id).in_(old)))
        is_used = exists().where(
            col(Notification.route) == col(TargetHealth.route), col(Notification.target) == col(TargetHealth.target)
        )
        session.execute(delete(TargetHealth).where(~is_used))
        session.execute(delete(ResponseError).where(col(ResponseError.last_at) < before))
        session.execute(delete(Alert).where(col(Alert.id).in_(old)))
        return len(old)


def _withdrawal(alert: Alert, opened: Notification, now: datetime, version: int) -> Message:
    why = "the case or the cluster was removed"
    if alert.subject.is_node_level:
        why += ", or the node left the cluster"
    message = message_of(opened, alert)
    return replace(
        message,
        kind=MessageKind.WITHDRAWN,
        reason="Withdrawn",
        why=why,
        errors=(),
        until=now,
        version=version,
    )


def _delete_standings(session: Session, cases: list[str]) -> None:
    unknown_cluster = ~exists().where(col(Cluster.name) == col(Standing.cluster))
    withdrawn = or_(unknown_cluster, col(Standing.case).not_in(cases), _is_node_removed(Standing, Standing.due_at))
    session.execute(delete(Standing).where(withdrawn))


def _is_node_removed(row: type[Alert | Standing], since: datetime) -> ColumnElement[bool]:
    """A condition for rows about a node that is no longer in its cluster, if the cluster's nodes are known.

    A node of the same name that joined later is another node. For rows about the nodes as a whole: no binding selects
    nodes of the cluster any more.
    """
    is_listed = exists().where(col(Cluster.name) == col(row.cluster), col(Cluster.nodes_listed_at).is_not(None))
    is_present = exists().where(
        col(Node.cluster) == col(row.cluster), col(Node.name) == col(row.node), col(Node.created_at) <= col(since)
    )
    is_watched = exists().where(col(Cluster.name) == col(row.cluster), col(Cluster.watches_nodes).is_(other=True))
    return or_(
        and_(col(row.node).not_in(("", SOME_NODE)), is_listed, ~is_present),
        and_(col(row.node) == SOME_NODE, ~is_watched),
    )
