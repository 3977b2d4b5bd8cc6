"""The numbers of an installation that only the store knows, for metrics: what is open, overdue, unprocessed, unwatched.

Four statements, each over an index of open work or over the clusters, so that history costs nothing.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select
from sqlmodel import Session, col

from kubeprobe.response.claim import is_deliverable
from kubeprobe.store import (
    Alert,
    Cluster,
    Collector,
    Notification,
    Outcome,
    Run,
    Schedule,
    has_open_breaker,
    is_open,
    is_unprocessed,
    is_watched,
)
from kubeprobe.vocabulary import RunState

HELD = "held"
"""A pending run on a cluster whose cap on pods is reached."""


@dataclass(frozen=True)
class StoreGauges:
    """One reading. Ages are seconds; 0 where nothing waits."""

    open_runs: Mapping[tuple[str, str], int]
    """By state (a `RunState`, or `held`) and trigger."""
    oldest_pending_s: float
    """Since when the longest waiting run could have been launched."""
    oldest_held_s: float
    overdue_schedule_s: float
    """How long the longest overdue slot is due that no beat has opened."""
    unprocessed_outcomes: int
    oldest_unprocessed_s: float
    due_notifications: int
    oldest_notification_s: float
    last_outcome_at: datetime | None
    open_alerts: Mapping[tuple[str, str], int]
    """By kind and severity."""
    clusters: Mapping[str, int]
    """By pool."""
    unwatched_clusters: int
    cordoned_clusters: int
    open_breakers: int
    collectors: int
    """Those that renewed their leases in time."""


def read_gauges(session: Session, now: datetime) -> StoreGauges:
    """Read them in four statements."""
    runs = _open_runs(session)
    waits = {state: oldest for state, (_, oldest) in _by_state(runs).items()}
    clusters = session.execute(_clusters(now)).all()
    one = session.execute(_scalars(now)).one()
    alerts = select(col(Alert.kind), col(Alert.severity), func.count()).where(col(Alert.closed_at).is_(None))
    return StoreGauges(
        open_runs={key: count for key, (count, _) in runs.items()},
        oldest_pending_s=_age(waits.get(RunState.PENDING), now),
        oldest_held_s=_age(waits.get(HELD), now),
        overdue_schedule_s=_age(one.next_due, now),
        unprocessed_outcomes=one.unprocessed,
        oldest_unprocessed_s=_age(one.oldest_unprocessed, now),
        due_notifications=one.notifications,
        oldest_notification_s=_age(one.oldest_notification, now),
        last_outcome_at=one.last_outcome,
        open_alerts={
            (kind, severity): count
            for kind, severity, count in session.execute(alerts.group_by(col(Alert.kind), col(Alert.severity)))
        },
        clusters={row.pool: row.clusters for row in clusters},
        unwatched_clusters=sum(row.unwatched for row in clusters),
        cordoned_clusters=sum(row.cordoned for row in clusters),
        open_breakers=sum(row.broken for row in clusters),
        collectors=one.collectors,
    )


def _open_runs(session: Session) -> dict[tuple[str, str], tuple[int, datetime]]:
    """How many open runs there are by state and trigger, and since when the first of them may be launched."""
    is_held = (col(Run.state) == RunState.PENDING) & col(Run.held).is_(other=True)
    state = case((is_held, HELD), else_=col(Run.state))
    statement = select(state, col(Run.trigger), func.count(), func.min(col(Run.launch_at))).where(is_open())
    return {(s, t): (n, oldest) for s, t, n, oldest in session.execute(statement.group_by(state, col(Run.trigger)))}


def _by_state(runs: Mapping[tuple[str, str], tuple[int, datetime]]) -> dict[str, tuple[int, datetime]]:
    found: dict[str, list[tuple[int, datetime]]] = defaultdict(list)
    for (state, _), counted in runs.items():
        found[state].append(counted)
    return {state: (sum(n for n, _ in each), min(oldest for _, oldest in each)) for state, each in found.items()}


def _clusters(now: datetime) -> Any:
    def count(condition: Any) -> Any:
        return func.sum(case((condition, 1), else_=0))

    return select(
        col(Cluster.pool),
        func.count().label("clusters"),
        count(~is_watched(now)).label("unwatched"),
        count(col(Cluster.cordoned_at).is_not(None)).label("cordoned"),
        count(has_open_breaker(now)).label("broken"),
    ).group_by(col(Cluster.pool))


def _scalars(now: datetime) -> Any:
    """One row; each column a look-up of its own."""

    def one(value: Any, table: Any, *conditions: Any) -> Any:
        return select(value).select_from(table).where(*conditions).scalar_subquery()

    unprocessed, next_attempt_at = is_unprocessed(), col(Notification.next_attempt_at)
    return select(
        one(func.count(), Outcome, unprocessed).label("unprocessed"),
        one(func.min(col(Outcome.stored_at)), Outcome, unprocessed).label("oldest_unprocessed"),
        one(func.max(col(Outcome.stored_at)), Outcome).label("last_outcome"),
        one(func.count(), Notification, is_deliverable(now)).label("notifications"),
        one(func.min(next_attempt_at), Notification, is_deliverable(now)).label("oldest_notification"),
        one(func.min(col(Schedule.next_due)), Schedule, col(Schedule.paused_at).is_(None)).label("next_due"),
        one(func.count(), Collector, col(Collector.leased_until) > now).label("collectors"),
    )


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
