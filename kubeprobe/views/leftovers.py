"""What probes left behind: of one run, and of the whole installation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from kubeprobe.store import Cluster, Leftover

LATELY = timedelta(days=1)


@dataclass(frozen=True)
class LeftoverView:
    """An object that the sweeper had to remove."""

    resource: str
    namespace: str
    name: str
    found_at: datetime
    gone_at: datetime | None
    stuck: str
    """Why it is still there; empty: it was removed."""


@dataclass(frozen=True)
class LeftoverHealth:
    """What there was to sweep up, and what keeps it from being done."""

    removed: Mapping[str, int]
    """How many things of the last day, by `case on cluster`."""
    stuck: tuple[str, ...]
    """What is still there: `namespaces x on prod-1: why`."""
    not_allowed: Mapping[str, str]
    """What KubeProbe's user lacks, by cluster."""


def leftovers_of(session: Session, run_id: str) -> tuple[LeftoverView, ...]:
    """What a run's probe left behind."""
    rows = session.exec(select(Leftover).where(Leftover.run_id == run_id).order_by(Leftover.resource, Leftover.name))
    return tuple(LeftoverView(r.resource, r.namespace, r.name, r.found_at, r.gone_at, r.stuck) for r in rows)


def leftover_health(session: Session, now: datetime) -> LeftoverHealth:
    """What there was to sweep up of late."""
    counted = session.exec(
        select(Leftover.case, Leftover.cluster, func.count())
        .where(Leftover.found_at > now - LATELY, Leftover.stuck == "")
        .group_by(col(Leftover.case), col(Leftover.cluster))
    )
    stuck = session.exec(
        select(Leftover)
        .join(Cluster, col(Cluster.name) == col(Leftover.cluster))
        .where(col(Leftover.gone_at).is_(None), Leftover.stuck != "")
        .order_by(col(Leftover.found_at))
        .limit(20)
    )
    lacking = session.exec(select(Cluster.name, Cluster.sweep_trouble).where(Cluster.sweep_trouble != ""))
    return LeftoverHealth(
        removed={f"{case or 'a forgotten run'} on {cluster}": int(count) for case, cluster, count in counted},
        stuck=tuple(f"{row.resource} {full_name(row)} on {row.cluster}: {row.stuck}" for row in stuck),
        not_allowed=dict(lacking.all()),
    )


def full_name(leftover: Leftover | LeftoverView) -> str:
    """`namespace/name`, or the name of what belongs to the cluster."""
    return f"{leftover.namespace}/{leftover.name}" if leftover.namespace else leftover.name
