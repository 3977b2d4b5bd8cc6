"""The health of an installation as the store shows it: what is overdue, unwatched, lost, undelivered or left behind."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, func, or_, select, union
from sqlmodel import Session, col

from kubeprobe.catalog import load_catalog
from kubeprobe.sources import find_drift
from kubeprobe.store import (
    Alert,
    Cluster,
    Collector,
    Leftover,
    Notification,
    Outcome,
    ProcessClock,
    ResponseError,
    Run,
    Schedule,
    Source,
    TargetHealth,
    awaits_pod,
    has_failed,
    has_open_breaker,
    is_open,
    is_undelivered,
    is_unprocessed,
    is_watched,
)
from kubeprobe.store.clock import SHOWN_FOR
from kubeprobe.store.types import database_now
from kubeprobe.vocabulary import Reason, Subject

LATE = timedelta(seconds=30)
"""A running process does its work within seconds: what waits longer is late."""
LAST_HOUR = timedelta(hours=1)
LAST_DAY = timedelta(days=1)
OWN_FAULTS = (Reason.LOST, Reason.NOT_LAUNCHED, Reason.MISSED)
"""Reasons that point at KubeProbe rather than at a cluster."""
MANY_ATTEMPTS = 3


@dataclass(frozen=True)
class FleetHealth:
    """Clusters, and the collectors that watch them."""

    pools: Mapping[str, int]
    """How many clusters each pool has."""
    collectors: Mapping[str, int]
    """Running collectors of each pool."""
    unwatched: Mapping[str, tuple[str, ...]]
    """Clusters that no collector watches, by pool."""
    unreachable: tuple[str, ...]
    """Clusters whose breaker is open: they did not answer, and are retried later."""
    unbound: tuple[str, ...]
    """Clusters that no binding matches."""
    cordoned: tuple[str, ...]
    troubles: Mapping[str, str] = field(default_factory=dict)
    """What its collector cannot do, by cluster."""


@dataclass(frozen=True)
class RunHealth:
    """Work on runs that is late."""

    schedules: int
    """Those that are not paused."""
    overdue_schedules: int
    """Due and not issued: beat's work."""
    unsent: Mapping[str, int]
    """Runs of each pool whose launch message should have been sent again: beat's work too."""
    waiting: Mapping[str, int]
    """Runs of each pool that wait for a launcher, though their cluster's cap would let them start."""
    overdue: int
    """Runs without an outcome after all deadlines: housekeeping's work."""
    own_faults: Mapping[str, int]
    """Outcomes of the last hour by reason, for OWN_FAULTS."""
    unprocessed: int
    """Outcomes that wait for a responder."""
    undelivered: tuple[str, ...]
    """Notifications that failed in the last hour or of an open alert, or are retried: route, target and last error."""
    set_aside: tuple[str, ...] = ()
    """Cases on subjects whose outcomes could not be processed in the last day, with the error."""


@dataclass(frozen=True)
class LeftoverHealth:
    """Objects that killed probes left in clusters."""

    removed: Mapping[str, int]
    """How many were removed in the last day, by `case on cluster`."""
    stuck: tuple[str, ...]
    """Those that remain: `namespaces x on prod-1: why`."""
    not_allowed: Mapping[str, str]
    """The rights that KubeProbe's user lacks, by cluster."""


@dataclass(frozen=True)
class SourceHealth:
    """A source of the catalog."""

    name: str
    is_paused: bool
    error: str
    """Why its newest commit is not applied; empty: it is."""
    is_refused: bool
    """Whether the commit itself is wrong; otherwise it could not be fetched or read."""
    next_sync: datetime
    applied_commit: str | None
    drifted: int
    """How many entries differ from what it declares."""


def fleet_health(session: Session, now: datetime) -> FleetHealth:
    """Which clusters are watched, bound and reachable."""
    columns = (
        col(Cluster.name),
        col(Cluster.pool),
        col(Cluster.labels),
        col(Cluster.cordoned_at),
        is_watched(now).label("is_watched"),
        has_open_breaker(now).label("is_unreachable"),
        col(Cluster.watch_trouble),
    )
    rows: list[Any] = list(session.execute(select(*columns).order_by(col(Cluster.name))))
    catalog = load_catalog(session)
    bindings = catalog.bindings.values()
    of_unreadable = col(Schedule.binding).in_(list(catalog.unreadable_of("Binding")))
    scheduled = set(session.scalars(select(col(Schedule.cluster)).where(of_unreadable).distinct()))
    unwatched: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if not row.is_watched:
            unwatched[row.pool].append(row.name)
    return FleetHealth(
        pools=dict(Counter(row.pool for row in rows)),
        collectors=_counts(
            session.execute(
                select(col(Collector.pool), func.count())
                .where(col(Collector.leased_until) > now)
                .group_by(col(Collector.pool))
            )
        ),
        unwatched={pool: tuple(names) for pool, names in unwatched.items()},
        unreachable=tuple(row.name for row in rows if row.is_unreachable),
        unbound=tuple(
            row.name
            for row in rows
            if row.name not in scheduled and not any(b.clusters.matches(row.name, row.labels) for b in bindings)
        ),
        cordoned=tuple(row.name for row in rows if row.cordoned_at is not None),
        troubles={row.name: row.watch_trouble for row in rows if row.watch_trouble},
    )


def unreadable_entries(session: Session) -> dict[str, str]:
    """What is invalid in each catalog entry that this version of KubeProbe cannot read, by `KIND NAME`."""
    return {f"{kind} {name}": entry.message for (kind, name), entry in load_catalog(session).unreadable.items()}


def run_health(session: Session, now: datetime) -> RunHealth:
    """Work that is late. Eight statements; all but the count of schedules over an index of open work."""
    late, running = now - LATE, col(Schedule.paused_at).is_(None)
    return RunHealth(
        schedules=_count(session, Schedule, running),
        overdue_schedules=_count(session, Schedule, running, col(Schedule.next_due) <= late),
        unsent=_counts(
            session.execute(
                select(col(Run.pool), func.count())
                .where(awaits_pod(), col(Run.wake_at) <= late)
                .group_by(col(Run.pool))
            )
        ),
        waiting=_counts(
            session.execute(
                select(col(Run.pool), func.count())
                .where(awaits_pod(), col(Run.held).is_(other=False), col(Run.launch_at) <= late)
                .group_by(col(Run.pool))
            )
        ),
        overdue=_count(session, Run, is_open(), col(Run.expires_at) <= late),
        own_faults=_counts(
            session.execute(
                select(col(Outcome.reason), func.count())
                .where(col(Outcome.stored_at) >= now - LAST_HOUR, col(Outcome.reason).in_(OWN_FAULTS))
                .group_by(col(Outcome.reason))
            )
        ),
        unprocessed=_count(session, Outcome, is_unprocessed(), col(Outcome.stored_at) <= late),
        undelivered=_undelivered(session, now),
        set_aside=_set_aside(session, now),
    )


def leftover_health(session: Session, now: datetime) -> LeftoverHealth:
    """What was left behind in the last day, and what keeps it from being removed."""
    counted = session.execute(
        select(col(Leftover.case), col(Leftover.cluster), func.count())
        .where(col(Leftover.found_at) > now - LAST_DAY, col(Leftover.stuck) == "")
        .group_by(col(Leftover.case), col(Leftover.cluster))
    )
    stuck = session.scalars(
        select(Leftover)
        .join(Cluster, col(Cluster.name) == col(Leftover.cluster))
        .where(col(Leftover.gone_at).is_(None), col(Leftover.stuck) != "")
        .order_by(col(Leftover.found_at))
        .limit(20)
    )
    lacking = session.execute(
        select(col(Cluster.name), col(Cluster.sweep_trouble)).where(col(Cluster.sweep_trouble) != "")
    )
    return LeftoverHealth(
        removed={f"{case or 'a removed run'} on {cluster}": int(count) for case, cluster, count in counted},
        stuck=tuple(f"{row.resource} {_full_name(row)} on {row.cluster}: {row.stuck}" for row in stuck),
        not_allowed={str(cluster): str(rights) for cluster, rights in lacking},
    )


def source_health(session: Session) -> list[SourceHealth]:
    """All sources, by name."""
    return [
        SourceHealth(
            row.name,
            row.paused_at is not None,
            row.error,
            row.refused_tree is not None,
            row.next_sync,
            row.applied_commit,
            len(find_drift(session, row)),
        )
        for row in session.scalars(select(Source).order_by(col(Source.name)))
    ]


def database_clock(session: Session) -> datetime | None:
    """The database server's time; None for SQLite, which has no server."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    found: datetime = session.execute(select(database_now())).scalar_one()
    return found


def wrong_clocks(session: Session, now: datetime) -> dict[str, timedelta]:
    """By how much the clocks of running processes are ahead of the database's, by process; those that are wrong."""
    is_recent = col(ProcessClock.measured_at) > now - SHOWN_FOR
    rows = session.execute(select(col(ProcessClock.process), col(ProcessClock.ahead_s)).where(is_recent))
    return {str(process): timedelta(seconds=ahead_s) for process, ahead_s in rows}


def _undelivered(session: Session, now: datetime) -> tuple[str, ...]:
    retried = (is_undelivered(), col(Notification.attempts) >= MANY_ATTEMPTS)
    is_of_open_alert = exists().where(col(Alert.id) == col(Notification.alert_id), col(Alert.closed_at).is_(None))
    failed = (has_failed(), or_(col(Notification.next_attempt_at) >= now - LAST_HOUR, is_of_open_alert))
    columns = (col(Notification.route), col(Notification.target), col(Notification.last_error))
    waits = exists().where(
        is_undelivered(),
        col(Notification.route) == col(TargetHealth.route),
        col(Notification.target) == col(TargetHealth.target),
    )
    health = (TargetHealth.route, TargetHealth.target, TargetHealth.failing_since, TargetHealth.last_error)
    failing = select(*map(col, health)).where(col(TargetHealth.failures) >= MANY_ATTEMPTS, waits).limit(20)
    shown = {
        f"{route}/{target}": f"{error} (failing since {since:%Y-%m-%d %H:%M} UTC)" if since else error
        for route, target, since, error in session.execute(failing)
    }
    others = union(*(select(*columns).where(*conditions) for conditions in (retried, failed))).limit(20)
    single = [(f"{route}/{target}", error) for route, target, error in session.execute(others)]
    lines = [*shown.items(), *(one for one in single if one[0] not in shown)]
    return tuple(f"{name}: {error}" for name, error in lines[:20])


def _set_aside(session: Session, now: datetime) -> tuple[str, ...]:
    found = session.scalars(
        select(ResponseError).where(col(ResponseError.last_at) >= now - LAST_DAY).order_by(col(ResponseError.last_at))
    )
    return tuple(f"{row.outcomes} of {row.case} on {Subject(row.cluster, row.node)}: {row.error}" for row in found)


def _count(session: Session, table: Any, *conditions: Any) -> int:
    return int(session.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one())


def _counts(rows: Iterable[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in rows}


def _full_name(leftover: Leftover) -> str:
    return f"{leftover.namespace}/{leftover.name}" if leftover.namespace else leftover.name
