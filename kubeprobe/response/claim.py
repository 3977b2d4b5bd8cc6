"""Claims the next message to a target: which one may be sent, and which are no longer true.

Promise 9: people get what is true now, in order. The messages to one target about one case on one subject are sent one
at a time, in the order of their versions. A message that waits is dropped as soon as a newer one about the same kind of
alert exists, and the end of a failure that the target never received is not sent.

A target gets one message at a time, and up to MAX_CONCURRENT while it goes on accepting them. After a failure all
messages to it wait for a pause that grows with every failure, and then one is tried. So a target that stalls holds one
thread, seldom.

A claim is a compare-and-set with a lease, which its process renews (`renewal`). Next: `deliver` sends the message.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlmodel import Session, col

from kubeprobe import metrics
from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.catalog.model import RouteTarget
from kubeprobe.clock import Clock
from kubeprobe.response import targets
from kubeprobe.response.corrected import reset_if_corrected
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.order import is_about, is_next_and_due, is_superseded, is_to, key_of
from kubeprobe.response.outcomes import StandingKey
from kubeprobe.response.routes import TargetRef, digest_of_target, find_target, target_of
from kubeprobe.store import Notification, Store, TargetHealth, is_being_sent, is_undelivered
from kubeprobe.store.engine import insert_ignoring_conflicts
from kubeprobe.vocabulary import NotificationState

MAX_CONCURRENT = 4
"""Messages that are sent to one target at a time, while it accepts them."""
PROVEN_FOR = timedelta(seconds=2)
"""After the target accepted a message, it gets more than one at a time for so long."""
LEASE = timedelta(seconds=15)
"""After which another worker may send a claimed notification, unless its own has renewed the claim."""
MAX_DROPS = 100
"""Messages, or messages about one subject, that one transaction drops before it claims one."""
SUPERSEDED = "a newer message replaced it"
NOT_NEEDED = "the target never received the opening, so the closing is not sent"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notification that this worker has claimed."""

    id: str
    to: TargetRef
    key: StandingKey
    """What the message is about."""
    version: int
    payload: dict[str, Any] = field(repr=False)
    attempt: int
    """Grows with every claim, and so identifies this one."""
    lease: datetime
    """When the claim ends, unless it is renewed."""
    rejections: int
    crashes: int
    arrived_before: bool
    """Whether an earlier attempt may have arrived."""
    target: RouteTarget | None
    is_route_unreadable: bool
    """This version of KubeProbe cannot read the route, or a target of it: another may have the target."""
    target_failures: int
    """The target's consecutive failures before this attempt."""


def due_targets(store: Store, now: datetime, limit: int = 500) -> list[TargetRef]:
    """The targets to which messages can be sent now, longest waiting first."""
    statement = (
        select(col(Notification.route), col(Notification.target))
        .where(is_deliverable(now))
        .group_by(col(Notification.route), col(Notification.target))
        .order_by(func.min(col(Notification.next_attempt_at)))
        .limit(limit)
    )
    with store.reading() as session:
        return [TargetRef(route, target) for route, target in session.execute(statement)]


def has_due(store: Store, to: TargetRef, now: datetime) -> bool:
    """Whether more messages can be sent to the target now."""
    statement = select(col(Notification.id)).where(is_to(to), is_deliverable(now)).limit(1)
    with store.reading() as session:
        return session.execute(statement).first() is not None


def is_deliverable(now: datetime) -> ColumnElement[bool]:
    """Of notifications that are due, that no earlier one precedes, and whose target is not failing."""
    waits = exists().where(
        col(TargetHealth.route) == col(Notification.route),
        col(TargetHealth.target) == col(Notification.target),
        col(TargetHealth.retry_at) > now,
    )
    is_dropped = and_(col(Notification.state) == NotificationState.PENDING, is_superseded(Notification))
    return and_(is_next_and_due(now), ~is_dropped, ~waits)


def claim_next(
    store: Store,
    catalogs: CatalogCache,
    to: TargetRef,
    clock: Clock,
    list_own: Callable[[], Iterable[Claimed]] = tuple,
) -> Claimed | None:
    """Claim the next message to the target; None if there is none, or the target has enough of them for now.

    `list_own`: the claims of what this process is still sending. Those that have lapsed are renewed first.
    """
    while True:
        with store.writing() as session:
            health = _lock(session, to)
            now = clock()  # not before: the wait for the lock can be longer than a lease
            _renew_lapsed(session, (own for own in list_own() if own.to == to), now)
            catalog = catalogs.current(session)
            reset_if_corrected(session, catalog, health, now)
            if not _may_send(session, to, health, now):
                return None
            target = find_target(catalog, to)
            dropped = _drop_superseded(session, to) if health.failures else 0
            found, dropped_before_it = _next(session, to, now)
            claimed = None if found is None else _claim(to, catalog, found, health, clock() + LEASE)
        for _ in range(dropped + dropped_before_it):
            metrics.record_delivery(targets.kind_of(target), "dropped")
        if claimed is not None or dropped_before_it < MAX_DROPS:
            return claimed


def _lock(session: Session, to: TargetRef) -> TargetHealth:
    """The target's row, locked: one claim at a time."""
    row = {"route": to.route, "target": to.target, "failures": 0, "last_error": ""}
    session.execute(insert_ignoring_conflicts(session, TargetHealth, [row]))
    return session.get_one(TargetHealth, tuple(to), with_for_update=True)


def _renew_lapsed(session: Session, claims: Iterable[Claimed], now: datetime) -> None:
    """Renew the claims that could not be renewed in time, unless others have claimed the messages."""
    for claimed in sorted(claims, key=lambda claimed: claimed.id):
        session.execute(
            update(Notification)
            .where(is_claim(claimed), col(Notification.next_attempt_at) <= now)
            .values(next_attempt_at=now + LEASE)
            .execution_options(synchronize_session=False)
        )


def _may_send(session: Session, to: TargetRef, health: TargetHealth, now: datetime) -> bool:
    """Whether one more message may be sent now: a second one only while the target goes on accepting them."""
    if health.retry_at is not None and health.retry_at > now:
        return False
    statement = select(func.count(), func.min(col(Notification.next_attempt_at))).where(
        is_to(to), is_being_sent(), col(Notification.next_attempt_at) > now
    )
    count, lease = session.execute(statement).one()
    if not count:
        return True
    is_accepting = health.accepted_at is not None and (lease - LEASE) - health.accepted_at <= PROVEN_FOR
    return not health.failures and is_accepting and count < MAX_CONCURRENT


def _drop_superseded(session: Session, to: TargetRef) -> int:
    """Drop messages to a failing target that newer ones replace, so that they do not pile up; returns how many."""
    return len(_drop(session, is_to(to), is_superseded(Notification)))


def _drop(session: Session, *conditions: ColumnElement[bool]) -> set[str]:
    """Drop pending messages, at most MAX_DROPS; their ids."""
    is_pending = and_(is_undelivered(), col(Notification.state) == NotificationState.PENDING)
    statement = select(col(Notification.id)).where(*conditions, is_pending).limit(MAX_DROPS)
    found = session.scalars(statement).all()  # as a subquery, PostgreSQL may join it with all notifications
    if not found:
        return set()
    dropped = (
        update(Notification)
        .where(col(Notification.id).in_(found), is_pending)
        .values(state=NotificationState.DROPPED, last_error=SUPERSEDED)
        .returning(col(Notification.id))
        .execution_options(synchronize_session=False)
    )
    return set(session.scalars(dropped))


def _next(session: Session, to: TargetRef, now: datetime) -> tuple[Notification | None, int]:
    """The next message, and how many were dropped because a newer one replaces them, or they need not be sent."""
    dropped = 0
    order = (col(Notification.rejections), col(Notification.next_attempt_at), col(Notification.version))
    statement = select(Notification).where(is_to(to), is_next_and_due(now)).order_by(*order).limit(1)
    while dropped < MAX_DROPS and (
        found := session.scalars(statement.execution_options(populate_existing=True)).first()
    ):
        replaced = _drop_replaced(session, found)
        dropped += len(replaced)
        if found.id in replaced or len(replaced) >= MAX_DROPS:
            continue
        if found.event == AlertEvent.OPENED or _is_needed(session, found):
            return found, dropped
        dropped += 1
        found.state, found.last_error = NotificationState.DROPPED, NOT_NEEDED
        session.flush()
    return None, dropped


def _drop_replaced(session: Session, found: Notification) -> set[str]:
    """Drop pending messages about the same kind of alert on the same subject that newer ones replace; their ids.

    At most MAX_DROPS.
    """
    same = and_(*is_about(key_of(found)), is_to(target_of(found)), col(Notification.kind) == found.kind)
    version = col(Notification.version)
    newest = select(version).where(same).order_by(version.desc()).limit(1).correlate(None)
    return _drop(session, same, version < newest.scalar_subquery())


def _is_needed(session: Session, closing: Notification) -> bool:
    """Whether the target may have received a failure whose end it has not surely received."""
    if closing.may_have_arrived:
        return True
    same = (
        *is_about(key_of(closing)),
        is_to(target_of(closing)),
        col(Notification.kind) == closing.kind,
        col(Notification.version) < closing.version,
    )
    received = or_(
        and_(col(Notification.event) == AlertEvent.CLOSED, col(Notification.sent_at).is_not(None)),
        and_(col(Notification.event) == AlertEvent.OPENED, col(Notification.may_have_arrived).is_(other=True)),
    )
    last = select(col(Notification.event)).where(*same, received).order_by(col(Notification.version).desc()).limit(1)
    return session.scalar(last) == AlertEvent.OPENED


def _claim(
    to: TargetRef,
    catalog: Catalog,
    found: Notification,
    health: TargetHealth,
    lease: datetime,
) -> Claimed:
    target = find_target(catalog, to)
    arrived_before, was_killed = found.may_have_arrived, found.state == NotificationState.SENDING
    found.state, found.next_attempt_at = NotificationState.SENDING, lease
    found.attempts += 1
    found.crashes += was_killed
    found.may_have_arrived = True  # unless the target refuses it: a worker that is killed cannot record it
    if target is not None:
        health.spec_digest = digest_of_target(target)
    return Claimed(
        id=found.id,
        to=to,
        key=key_of(found),
        version=found.version,
        payload=found.payload,
        attempt=found.attempts,
        lease=lease,
        rejections=found.rejections,
        crashes=found.crashes,
        arrived_before=arrived_before,
        target=target,
        is_route_unreadable=to.route in catalog.unreadable_of("AlertRoute"),
        target_failures=health.failures,
    )


def is_claim(claimed: Claimed) -> ColumnElement[bool]:
    """Of the claimed notification, unless its lease ended and another worker has claimed it."""
    return and_(
        col(Notification.id) == claimed.id,
        col(Notification.state) == NotificationState.SENDING,
        col(Notification.attempts) == claimed.attempt,
    )


def newest_sent(session: Session, claimed: Claimed) -> list[str]:
    """Of the messages after the claimed one about the same subject, the newest of each kind that was sent."""
    statement = (
        select(col(Notification.id), col(Notification.kind))
        .where(
            *is_about(claimed.key),
            is_to(claimed.to),
            col(Notification.version) > claimed.version,
            col(Notification.state) == NotificationState.SENT,
        )
        .order_by(col(Notification.version))
    )
    return list({kind: found for found, kind in session.execute(statement)}.values())
