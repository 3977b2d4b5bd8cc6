"""The health of an installation, as far as the store shows it: what is overdue, unwatched, lost or undelivered."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from kubeprobe.catalog import load_catalog
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Collector, Notification, Outcome, Run, Schedule, awaits_pod, is_open
from kubeprobe.vocabulary import NotificationState, Reason

LATE = timedelta(seconds=30)
"""What a living process does within seconds has not been done for so long."""
LATELY = timedelta(hours=1)
TROUBLED = (Reason.LOST, Reason.NOT_LAUNCHED, Reason.MISSED)
"""Outcomes that tell of KubeProbe itself rather than of a cluster."""
OFTEN_TRIED = 3


@dataclass(frozen=True)
class FleetHealth:
    """Clusters, and who looks after them."""

    pools: Mapping[str, int]
    """How many clusters each pool has."""
    collectors: Mapping[str, int]
    """Living collectors of each pool."""
    unwatched: Mapping[str, tuple[str, ...]]
    """Clusters that no collector watches, by pool."""
    unreachable: tuple[str, ...]
    """Clusters that are left alone for a while, for they did not answer."""
    unbound: tuple[str, ...]
    """Clusters that no binding matches."""
    cordoned: tuple[str, ...]


@dataclass(frozen=True)
class RunHealth:
    """What should have happened to runs by now."""

    schedules: int
    """Those that are not paused."""
    overdue_schedules: int
    """Due long ago and not issued: beat's work."""
    unsent: int
    """Runs whose wake should have been sent again long ago: beat's work too."""
    waiting: Mapping[str, int]
    """Runs of each pool that have waited for a launcher for long, room or no room."""
    overdue: int
    """Runs without an outcome though their time was up long ago: housekeeping's work."""
    troubled: Mapping[str, int]
    """Outcomes of the last hour by reason, for the reasons that tell of KubeProbe itself."""
    unanswered: int
    """Outcomes that have waited for a responder for long."""
    undelivered: tuple[str, ...]
    """Messages that were given up in the last hour, or are still tried: route, target and last error."""


def fleet_health(session: Session, now: datetime, settings: Settings) -> FleetHealth:
    """Who looks after the clusters."""
    columns = (
        col(Cluster.name),
        col(Cluster.pool),
        col(Cluster.labels),
        col(Cluster.leased_until),
        col(Cluster.open_until),
        col(Cluster.cordoned_at),
    )
    rows: list[Any] = list(session.execute(select(*columns).order_by(col(Cluster.name))))
    bindings = load_catalog(session).bindings.values()
    unwatched: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.leased_until is None or row.leased_until <= now:
            unwatched[row.pool].append(row.name)
    return FleetHealth(
        pools=dict(Counter(row.pool for row in rows)),
        collectors=_counts(
            session.execute(
                select(col(Collector.pool), func.count())
                .where(col(Collector.seen_at) > now - settings.lease)
                .group_by(col(Collector.pool))
            )
        ),
        unwatched={pool: tuple(names) for pool, names in unwatched.items()},
        unreachable=tuple(row.name for row in rows if row.open_until is not None and row.open_until > now),
        unbound=tuple(row.name for row in rows if not any(b.clusters.matches(row.name, row.labels) for b in bindings)),
        cordoned=tuple(row.name for row in rows if row.cordoned_at is not None),
    )


def run_health(session: Session, now: datetime) -> RunHealth:
    """What should have happened by now and has not. Eight statements, each over an index of open work."""
    late, running = now - LATE, col(Schedule.paused_at).is_(None)
    return RunHealth(
        schedules=_count(session, Schedule, running),
        overdue_schedules=_count(session, Schedule, running, col(Schedule.next_due) <= late),
        unsent=_count(session, Run, awaits_pod(), col(Run.wake_at) <= late),
        waiting=_counts(
            session.execute(
                select(col(Run.pool), func.count())
                .where(awaits_pod(), col(Run.held).is_(other=False), col(Run.launch_at) <= late)
                .group_by(col(Run.pool))
            )
        ),
        overdue=_count(session, Run, is_open(), col(Run.expires_at) <= late),
        troubled=_counts(
            session.execute(
                select(col(Outcome.reason), func.count())
                .where(col(Outcome.stored_at) >= now - LATELY, col(Outcome.reason).in_(TROUBLED))
                .group_by(col(Outcome.reason))
            )
        ),
        unanswered=_count(session, Outcome, col(Outcome.responded_at).is_(None), col(Outcome.stored_at) <= late),
        undelivered=_undelivered(session, now),
    )


def database_clock(session: Session) -> datetime | None:
    """The database's own time; None where it is a file of ours."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    found: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return found


def _undelivered(session: Session, now: datetime) -> tuple[str, ...]:
    given_up = (col(Notification.state) == NotificationState.FAILED) & (
        col(Notification.next_attempt_at) >= now - LATELY
    )
    tried = col(Notification.state).in_((NotificationState.PENDING, NotificationState.SENDING)) & (
        col(Notification.attempts) >= OFTEN_TRIED
    )
    columns = (col(Notification.route), col(Notification.target), col(Notification.last_error))
    return tuple(
        f"{route}/{target}: {error}"
        for route, target, error in session.execute(select(*columns).where(given_up | tried).distinct().limit(20))
    )


def _count(session: Session, table: Any, *conditions: Any) -> int:
    return int(session.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one())


def _counts(rows: Iterable[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in rows}
