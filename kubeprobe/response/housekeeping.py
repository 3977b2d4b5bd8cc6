"""Periodic tasks, issued by beat: repeat alerts, close withdrawn ones, resend what is due, delete old alerts.

Rows are locked in the order that `respond` and `claim` lock them: standings, alerts, notifications; a target, its
notifications; rows of one table in the order of their primary keys.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

import structlog
from sqlalchemy import ColumnElement, and_, case, delete, exists, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from kubeprobe.catalog import CatalogCache
from kubeprobe.effects import Effects
from kubeprobe.response.claim import due_targets
from kubeprobe.response.corrected import reset_corrected_targets
from kubeprobe.response.deliver import MAX_CRASHES
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.outbox import Versions, message_of, new_notification, opening_notifications, write_deferred
from kubeprobe.response.outcomes import count_unprocessed_outcomes
from kubeprobe.response.respond import BATCH
from kubeprobe.response.routes import TargetRef, target_of
from kubeprobe.response.targets import needs_repeats
from kubeprobe.store import (
    Alert,
    Cluster,
    Node,
    Notification,
    ResponseError,
    Standing,
    Store,
    TargetHealth,
    is_undelivered,
)
from kubeprobe.vocabulary import SOME_NODE, NotificationState

log = structlog.get_logger(__name__)

REPEAT_EVERY = timedelta(minutes=1)
"""Well below `targets.alertmanager.HOLD`: an alert stays open in Alertmanager when a few repeats fail."""
REPEAT_REFUSED_EVERY = timedelta(minutes=10)
"""Openings that the target refused are repeated too: until then, what waits for them about the same subject is sent."""


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
        state = col(Notification.state)
        is_sent = and_(state == NotificationState.SENT, col(Notification.sent_at) <= now - REPEAT_EVERY)
        is_refused = and_(
            state == NotificationState.FAILED, col(Notification.next_attempt_at) <= now - REPEAT_REFUSED_EVERY
        )
        still_open = select(col(Alert.id)).where(col(Alert.closed_at).is_(None))
        due = (
            select(col(Notification.id))
            .where(
                col(Notification.alert_id).in_(still_open),
                col(Notification.event) == AlertEvent.OPENED,
                or_(is_sent, is_refused),
                tuple_(col(Notification.route), col(Notification.target)).in_(repeated_to),
            )
            .order_by(col(Notification.id))
            .with_for_update()
            .cte("due")
        )
        one_more_attempt = case(
            (col(Notification.crashes) >= MAX_CRASHES, MAX_CRASHES - 1), else_=col(Notification.crashes)
        )
        statement = (
            update(Notification)
            .where(col(Notification.id).in_(select(due.c.id)))
            .values(state=NotificationState.PENDING, next_attempt_at=now, crashes=one_more_attempt)
            .returning(col(Notification.route), col(Notification.target))
            .execution_options(synchronize_session=False)
        )
        return Effects(deliver=sorted({TargetRef(route, target) for route, target in session.execute(statement)}))


def notify_deferred(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Notify the targets of routes that were unreadable when an open alert opened, and now are readable.

    A route is unreadable to a process of another version of KubeProbe, or until it is corrected.
    """
    is_deferred = and_(col(Alert.closed_at).is_(None), col(Alert.unreadable_routes).is_not(None))
    with store.writing() as session:
        alerts = session.scalars(select(Alert).where(is_deferred).order_by(col(Alert.id)).with_for_update()).all()
        if not alerts:
            return Effects()
        names = {alert.cluster for alert in alerts}
        clusters = session.scalars(select(Cluster).where(col(Cluster.name).in_(names)))
        labels = {cluster.name: cluster.labels for cluster in clusters}
        written = write_deferred(session, catalogs.current(session), labels, alerts, now)
        return Effects(deliver=sorted({target_of(notification) for notification in written}))


def close_withdrawn(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Close the alerts of cases, clusters and nodes that no longer exist: no outcome would ever close them.

    Targets that received the opening get a `withdrawn` message: the case is no longer probed there, which is not a
    recovery.
    """
    with store.writing() as session:
        cases = list(catalogs.current(session).case_names())
        _delete_standings(session, cases)
        withdrawn = _close_alerts(session, cases, now)
        return Effects(deliver=sorted(_write_withdrawals(session, withdrawn, now)))


def due_effects(store: Store, catalogs: CatalogCache, now: datetime) -> Effects:
    """Pending outcomes and due notifications: their message was lost, or another attempt is due."""
    reset_corrected_targets(store, catalogs, now)
    return Effects(responders=ceil(count_unprocessed_outcomes(store) / BATCH), deliver=due_targets(store, now))


def delete_old_alerts(store: Store, before: datetime) -> int:
    """Delete a batch of the alerts that closed earlier, with their notifications; returns the number of alerts."""
    with store.writing() as session:
        old = session.scalars(select(col(Alert.id)).where(col(Alert.closed_at) < before).limit(BATCH)).all()
        session.execute(delete(Notification).where(col(Notification.alert_id).in_(old)))
        session.execute(delete(Alert).where(col(Alert.id).in_(old)))
        return len(old)


def delete_old_errors(store: Store, before: datetime) -> None:
    """Delete the errors of outcomes that were last set aside earlier."""
    with store.writing() as session:
        session.execute(delete(ResponseError).where(col(ResponseError.last_at) < before))


def delete_removed_targets(store: Store, catalogs: CatalogCache) -> None:
    """Delete the health of targets that the catalog lacks, and that no notification waits for."""
    is_awaited = exists().where(
        is_undelivered(),
        col(Notification.route) == col(TargetHealth.route),
        col(Notification.target) == col(TargetHealth.target),
    )
    with store.writing() as session:
        catalog = catalogs.current(session)
        unreadable = catalog.unreadable_of("AlertRoute")
        known = {(name, target.name) for name, route in catalog.routes.items() for target in route.targets}
        stored = session.execute(select(col(TargetHealth.route), col(TargetHealth.target)))
        removed = [(route, name) for route, name in stored if route not in unreadable and (route, name) not in known]
        key = tuple_(col(TargetHealth.route), col(TargetHealth.target))
        session.execute(delete(TargetHealth).where(key.in_(removed), ~is_awaited))


def _close_alerts(session: Session, cases: list[str], now: datetime) -> Sequence[Alert]:
    unknown_cluster = ~exists().where(col(Cluster.name) == col(Alert.cluster))
    is_withdrawn = or_(unknown_cluster, col(Alert.case).not_in(cases), _is_node_removed(Alert, Alert.opened_at))
    statement = select(Alert).where(col(Alert.closed_at).is_(None), is_withdrawn)
    withdrawn = session.scalars(statement.order_by(col(Alert.id)).with_for_update()).all()
    for alert in withdrawn:
        alert.closed_at = now
    return withdrawn


def _write_withdrawals(session: Session, withdrawn: Sequence[Alert], now: datetime) -> set[TargetRef]:
    """One message for each opening; returns the targets. An alert whose message cannot be written gets none."""
    openings = opening_notifications(session, [alert.id for alert in withdrawn])
    versions = Versions.read(session, withdrawn, now)
    due = set[TargetRef]()
    for alert in withdrawn:
        version = versions.next(alert)
        try:
            with session.begin_nested():
                session.add_all(
                    new_notification(
                        alert, AlertEvent.CLOSED, target_of(opened), _withdrawal(alert, opened, now, version), now
                    )
                    for opened in openings.get(alert.id, ())
                )
        except (IntegrityError, ValueError):
            log.exception("withdrawn alert closed without a message", alert=alert.id)
        else:
            due.update(target_of(opened) for opened in openings.get(alert.id, ()))
    return due


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
    key = (col(Standing.cluster), col(Standing.case), col(Standing.node))
    unknown_cluster = ~exists().where(col(Cluster.name) == col(Standing.cluster))
    is_withdrawn = or_(unknown_cluster, col(Standing.case).not_in(cases), _is_node_removed(Standing, Standing.due_at))
    withdrawn = select(*key).where(is_withdrawn).order_by(*key).with_for_update().cte("withdrawn")
    session.execute(delete(Standing).where(tuple_(*key).in_(select(*withdrawn.c))))


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
