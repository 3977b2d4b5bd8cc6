"""Targets whose specification was changed: what the former one refused does not make messages wait."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlmodel import Session, col

from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.catalog.model import RouteTarget
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.order import is_superseded, is_to
from kubeprobe.response.routes import TargetRef, digest_of_target, find_target
from kubeprobe.store import Alert, Notification, Store, TargetHealth, has_failed, is_undelivered
from kubeprobe.vocabulary import NotificationState

CLOSINGS_OF = timedelta(days=1)
"""How long ago a closing was refused that is sent to the corrected target."""


def reset_corrected_targets(store: Store, catalogs: CatalogCache, now: datetime) -> None:
    """End the pauses of all targets that were changed since a message to them was last claimed."""
    with store.reading() as session:
        catalog = catalogs.current(session)
        known = select(col(TargetHealth.route), col(TargetHealth.target), col(TargetHealth.spec_digest))
        corrected = [
            TargetRef(route, target)
            for route, target, digest in session.execute(known.where(col(TargetHealth.spec_digest) != ""))
            if _is_corrected(digest, find_target(catalog, TargetRef(route, target)))
        ]
    for to in corrected:
        with store.writing() as session:
            health = session.get(TargetHealth, tuple(to), with_for_update=True)
            if health is not None:
                reset_if_corrected(session, catalog, health, now)


def reset_if_corrected(session: Session, catalog: Catalog, health: TargetHealth, now: datetime) -> None:
    """If the target, whose row is locked, was changed: end its pause, and try again what the former one refused.

    That is what is still true: openings of open alerts, and recent closings.
    """
    to = TargetRef(health.route, health.target)
    target = find_target(catalog, to)
    if not _is_corrected(health.spec_digest, target):
        return
    health.failures, health.failing_since, health.retry_at, health.last_error = 0, None, None, ""
    health.spec_digest = digest_of_target(target)
    _retry(session, and_(is_to(to), is_undelivered(), col(Notification.state) == NotificationState.PENDING), now)
    is_open = exists().where(col(Alert.id) == col(Notification.alert_id), col(Alert.closed_at).is_(None))
    is_recent_closing = and_(
        col(Notification.event) == AlertEvent.CLOSED, col(Notification.next_attempt_at) > now - CLOSINGS_OF
    )
    _retry(session, and_(is_to(to), has_failed(), or_(is_open, is_recent_closing), ~is_superseded(Notification)), now)


def _is_corrected(digest: str, target: RouteTarget | None) -> bool:
    """Whether the target differs from the one with this digest; not if either is unknown."""
    return bool(digest) and target is not None and digest_of_target(target) != digest


def _retry(session: Session, condition: ColumnElement[bool], now: datetime) -> None:
    """Locks the rows in the order that `repeat_alerts` does."""
    chosen = (
        select(col(Notification.id)).where(condition).order_by(col(Notification.id)).with_for_update().cte("chosen")
    )
    statement = update(Notification).where(col(Notification.id).in_(select(chosen.c.id)))
    statement = statement.values(state=NotificationState.PENDING, next_attempt_at=now, rejections=0, crashes=0)
    session.execute(statement.execution_options(synchronize_session=False))
