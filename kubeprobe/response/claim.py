"""Claims the next message to a target: which one may be sent, and which are no longer true.

Promise 9: people get what is true now, in order. The messages to one target about one case on one subject are in
line. At most one of them is being sent, in the order of their versions. A message that waits is dropped as soon as a
newer one about the same kind of alert exists, and the end of a failure that the target never received is not sent.

A target gets one message at a time, and up to LANES while it goes on accepting them. After a failure all messages to it
wait for a pause that grows with every failure, and then one is tried. So a target that stalls holds one thread, seldom.

A claim is a compare-and-set with a lease. Next: `deliver` sends the message.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from kubeprobe import metrics
from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.catalog.model import RouteTarget
from kubeprobe.response import targets
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.routes import TargetRef, find_target
from kubeprobe.store import Alert, Notification, Store, TargetHealth, is_undelivered
from kubeprobe.store.engine import insert_ignoring_conflicts
from kubeprobe.vocabulary import NotificationState

LANES = 4
"""Messages that are sent to one target at a time, while it accepts them."""
PROVEN_FOR = timedelta(seconds=2)
"""After the target accepted a message, it gets more than one at a time for so long."""
LEASE = timedelta(minutes=1)
"""After which another worker may send a claimed notification; longer than any target's time limit."""
SUPERSEDED = "a newer message replaced it"
NOT_NEEDED = "the target never received the opening, so the closing is not sent"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notification that this worker has claimed until `lease`."""

    id: str
    to: TargetRef
    line: "Line"
    version: int
    payload: dict[str, Any] = field(repr=False)
    attempt: int
    rejections: int
    crashes: int
    arrived_before: bool
    """Whether an earlier attempt may have arrived."""
    lease: datetime
    target: RouteTarget | None
    is_route_unreadable: bool
    """This version of KubeProbe cannot read the route, or a target of it: another may have the target."""
    target_failures: int
    """The target's consecutive failures before this attempt."""
    is_repeated: bool
    """The alert is open, and the target needs repeats: it is never given up."""


@dataclass(frozen=True, slots=True)
class Line:
    """What messages are in line about: a case on a subject."""

    cluster: str
    case: str
    node: str


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
    statement = select(col(Notification.id)).where(_is_to(to), is_deliverable(now)).limit(1)
    with store.reading() as session:
        return session.execute(statement).first() is not None


def is_deliverable(now: datetime) -> ColumnElement[bool]:
    """Of notifications that are due, first in their line, and whose target is not failing."""
    waits = exists().where(
        col(TargetHealth.route) == col(Notification.route),
        col(TargetHealth.target) == col(Notification.target),
        col(TargetHealth.retry_at) > now,
    )
    return and_(_is_first_and_due(now), ~waits)


def claim_next(store: Store, catalogs: CatalogCache, to: TargetRef, now: datetime) -> Claimed | None:
    """Claim the next message to the target; None if there is none, or the target has enough of them for now."""
    with store.writing() as session:
        health = _lock(session, to)
        if health.retry_at is not None and health.retry_at > now:
            return None
        if not _has_free_lane(session, to, health, now):
            return None
        catalog = catalogs.current(session)
        target = find_target(catalog, to)
        dropped = _drop_superseded(session, to)
        found, not_needed = _next(session, to, now)
        claimed = None if found is None else _claim(session, to, catalog, found, health, now)
    for _ in range(dropped + not_needed):
        metrics.record_delivery(targets.kind_of(target), "dropped")
    return claimed


def _lock(session: Session, to: TargetRef) -> TargetHealth:
    """The target's row, locked: one claim at a time."""
    row = {"route": to.route, "target": to.target, "failures": 0, "last_error": ""}
    session.execute(insert_ignoring_conflicts(session, TargetHealth, [row]))
    return session.get_one(TargetHealth, tuple(to), with_for_update=True)


def _has_free_lane(session: Session, to: TargetRef, health: TargetHealth, now: datetime) -> bool:
    """Whether one more message may be sent now: a second one only while the target goes on accepting them."""
    statement = (
        select(func.count(), func.min(col(Notification.next_attempt_at)))
        .where(
            _is_to(to), col(Notification.state) == NotificationState.SENDING, col(Notification.next_attempt_at) > now
        )
        .where(is_undelivered())  # for the partial index
    )
    count, lease = session.execute(statement).one()
    if not count:
        return True
    is_accepting = health.accepted_at is not None and (lease - LEASE) - health.accepted_at <= PROVEN_FOR
    return not health.failures and is_accepting and count < LANES


def _drop_superseded(session: Session, to: TargetRef) -> int:
    """Drop the messages that a newer one replaces; returns how many."""
    newer = aliased(Notification)
    is_superseded = exists().where(
        *_in_line(newer, Notification),
        col(newer.kind) == col(Notification.kind),
        col(newer.version) > col(Notification.version),
    )
    statement = (
        update(Notification)
        .where(_is_to(to), is_undelivered(), col(Notification.state) == NotificationState.PENDING, is_superseded)
        .values(state=NotificationState.DROPPED, last_error=SUPERSEDED)
        .returning(col(Notification.id))
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(statement).all())


def _next(session: Session, to: TargetRef, now: datetime) -> tuple[Notification | None, int]:
    """The next message, and how many closings were dropped because they need not be sent."""
    dropped = 0
    order = (col(Notification.rejections), col(Notification.next_attempt_at), col(Notification.version))
    statement = select(Notification).where(_is_to(to), _is_first_and_due(now)).order_by(*order).limit(1)
    while found := session.scalars(statement.execution_options(populate_existing=True)).first():
        if found.event == AlertEvent.OPENED or _is_needed(session, found):
            return found, dropped
        dropped += 1
        found.state, found.last_error = NotificationState.DROPPED, NOT_NEEDED
        session.flush()
    return None, dropped


def _is_needed(session: Session, closing: Notification) -> bool:
    """Whether the target may have received a failure whose end it has not surely received."""
    same = (
        *_has_line(Line(closing.cluster, closing.case, closing.node)),
        _is_to(TargetRef(closing.route, closing.target)),
        col(Notification.kind) == closing.kind,
        col(Notification.version) < closing.version,
    )
    ended = select(func.max(col(Notification.version))).where(
        *same, col(Notification.event) == AlertEvent.CLOSED, col(Notification.sent_at).is_not(None)
    )
    since = session.execute(ended).scalar()
    received = select(col(Notification.id)).where(
        *same,
        col(Notification.event) == AlertEvent.OPENED,
        col(Notification.may_have_arrived).is_(other=True),
        col(Notification.version) > (-1 if since is None else since),
    )
    return closing.may_have_arrived or session.execute(received.limit(1)).first() is not None


def _claim(
    session: Session,
    to: TargetRef,
    catalog: Catalog,
    found: Notification,
    health: TargetHealth,
    now: datetime,
) -> Claimed:
    target = find_target(catalog, to)
    is_open = session.get_one(Alert, found.alert_id).closed_at is None
    is_repeated = found.event == AlertEvent.OPENED and is_open and target is not None and targets.needs_repeats(target)
    arrived_before, was_killed = found.may_have_arrived, found.state == NotificationState.SENDING
    found.state, found.next_attempt_at = NotificationState.SENDING, now + LEASE
    found.attempts += 1
    found.crashes += was_killed
    found.may_have_arrived = True  # unless the target refuses it: a worker that is killed cannot record it
    return Claimed(
        id=found.id,
        to=to,
        line=Line(found.cluster, found.case, found.node),
        version=found.version,
        payload=found.payload,
        attempt=found.attempts,
        rejections=found.rejections,
        crashes=found.crashes,
        arrived_before=arrived_before,
        lease=found.next_attempt_at,
        target=target,
        is_route_unreadable=to.route in catalog.unreadable_of("AlertRoute"),
        target_failures=health.failures,
        is_repeated=is_repeated,
    )


def is_claim(claimed: Claimed) -> ColumnElement[bool]:
    """Of the claimed notification, unless its lease ended and another worker has claimed it."""
    return and_(
        col(Notification.id) == claimed.id,
        col(Notification.state) == NotificationState.SENDING,
        col(Notification.attempts) == claimed.attempt,
        col(Notification.next_attempt_at) == claimed.lease,
    )


def newest_sent(session: Session, claimed: Claimed) -> list[str]:
    """Of the messages in line after the claimed one, the newest of each kind that was sent."""
    statement = (
        select(col(Notification.id), col(Notification.kind))
        .where(
            *_has_line(claimed.line),
            _is_to(claimed.to),
            col(Notification.version) > claimed.version,
            col(Notification.state) == NotificationState.SENT,
        )
        .order_by(col(Notification.version))
    )
    return list({kind: found for found, kind in session.execute(statement)}.values())


def _is_first_and_due(now: datetime) -> ColumnElement[bool]:
    earlier = aliased(Notification)
    waits = exists().where(
        *_in_line(earlier, Notification),
        col(earlier.version) < col(Notification.version),
        col(earlier.state).in_([NotificationState.PENDING, NotificationState.SENDING]),
    )
    return and_(is_undelivered(), col(Notification.next_attempt_at) <= now, ~waits)


def _is_to(to: TargetRef) -> ColumnElement[bool]:
    return and_(col(Notification.route) == to.route, col(Notification.target) == to.target)


def _has_line(line: Line) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Notification.cluster) == line.cluster,
        col(Notification.case) == line.case,
        col(Notification.node) == line.node,
    )


def _in_line(one: Any, other: Any) -> tuple[ColumnElement[bool], ...]:
    names = ("cluster", "case", "node", "route", "target")
    return tuple(col(getattr(one, name)) == col(getattr(other, name)) for name in names)
