"""Lists of alerts and notifications, as people read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_
from sqlmodel import col, select

from kubeprobe.store import Alert, Notification, Standing, Store, is_undelivered
from kubeprobe.vocabulary import AlertKind, NotificationState

OFTEN_TRIED = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts: every condition that is given must hold."""

    cluster: str | None = None
    case: str | None = None
    kind: AlertKind | None = None
    open_only: bool = True


def alerts(store: Store, wanted: Wanted | None = None, limit: int = 100) -> Sequence[Alert]:
    """Alerts, newest first."""
    wanted = wanted or Wanted()
    statement = select(Alert)
    if wanted.open_only:
        statement = statement.where(col(Alert.closed_at).is_(None))
    for column, value in (
        (Alert.cluster, wanted.cluster),
        (Alert.case, wanted.case),
        (Alert.kind, wanted.kind),
    ):
        if value is not None:
            statement = statement.where(col(column) == value)
    with store.reading() as session:
        return session.exec(statement.order_by(col(Alert.opened_at).desc(), col(Alert.id)).limit(limit)).all()


def notifications_of(store: Store, alert_id: str) -> Sequence[Notification]:
    """The notifications of an alert, in their order."""
    statement = select(Notification).where(col(Notification.alert_id) == alert_id)
    with store.reading() as session:
        return session.exec(statement.order_by(col(Notification.id))).all()


def undelivered(store: Store, since: datetime, limit: int = 100) -> Sequence[Notification]:
    """Notifications that failed since then, and pending ones with several attempts."""
    given_up = (col(Notification.state) == NotificationState.FAILED) & (col(Notification.next_attempt_at) >= since)
    waiting = is_undelivered() & (col(Notification.attempts) >= OFTEN_TRIED)
    statement = select(Notification).where(or_(given_up, waiting))
    with store.reading() as session:
        return session.exec(statement.order_by(col(Notification.next_attempt_at)).limit(limit)).all()


def standings(store: Store, cluster: str | None = None) -> Sequence[Standing]:
    """How cases stand on clusters. A standing that stays at pass keeps its first run and due time."""
    statement = select(Standing)
    if cluster is not None:
        statement = statement.where(col(Standing.cluster) == cluster)
    with store.reading() as session:
        return session.exec(statement.order_by(col(Standing.cluster), col(Standing.case))).all()
