"""Clusters without their credentials: who watches them, and why they are not probed."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import computed_field
from sqlalchemy.orm import defer
from sqlmodel import Session, col, func, select

from kubeprobe.fleet.selectors import Selector
from kubeprobe.jsonmodel import JsonModel, Page
from kubeprobe.store import Cluster, Run, has_open_breaker, is_open, is_watched
from kubeprobe.vocabulary import RunState


@dataclass(frozen=True)
class ClusterView(JsonModel):
    """One cluster."""

    name: str
    labels: dict[str, str]
    pool: str
    namespace: str
    max_in_flight: int
    in_flight: int
    """Probe pods at this moment."""
    connection: str
    """Where its credentials come from: kubeconfig, in-cluster or local."""
    declared: bool
    """By the catalog; else it was added by hand."""
    cordoned_at: datetime | None
    cordon_reason: str
    failures: int
    open_until: datetime | None
    """Retried then: it did not answer, so its breaker is open. None: it is closed."""
    collector: str | None
    """The collector that watches it; None: it is not watched."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state(self) -> str:
        """`ready`, `cordoned`, `unreachable` or `unwatched`."""
        if self.cordoned_at is not None:
            return "cordoned"
        if self.open_until is not None:
            return "unreachable"
        return "ready" if self.collector else "unwatched"


def list_clusters(
    session: Session, now: datetime, selector: Selector | None = None, limit: int | None = None, after: str = ""
) -> Page[ClusterView]:
    """The clusters whose labels match (default: all), by name; `after`: the `next` of the page before.

    Two statements.
    """
    counted = (
        select(Run.cluster, func.count())
        .where(is_open(), col(Run.state).in_((RunState.LAUNCHING, RunState.RUNNING)))
        .group_by(col(Run.cluster))
    )
    in_flight = {name: int(count) for name, count in session.exec(counted)}
    following = (
        select(Cluster, is_watched(now), has_open_breaker(now))
        .options(defer(Cluster.connection))  # type: ignore[arg-type]
        .where(col(Cluster.name) > after)
    )
    if limit is not None and selector is None:
        following = following.limit(limit + 1)
    rows = session.exec(following.order_by(col(Cluster.name)))
    matching = [row for row in rows if selector is None or selector.matches(row[0].labels)]
    views = tuple(_view(*row, in_flight.get(row[0].name, 0)) for row in matching[:limit])
    return Page(views, views[-1].name if len(matching) > len(views) else None)


def _view(cluster: Cluster, watched: bool, breaker_open: bool, in_flight: int) -> ClusterView:  # noqa: FBT001 - columns
    return ClusterView(
        name=cluster.name,
        labels=cluster.labels,
        pool=cluster.pool,
        namespace=cluster.namespace,
        max_in_flight=cluster.max_in_flight,
        in_flight=in_flight,
        connection=cluster.connection_kind,
        declared=cluster.spec is not None,
        cordoned_at=cluster.cordoned_at,
        cordon_reason=cluster.cordon_reason,
        failures=cluster.failures,
        open_until=cluster.open_until if breaker_open else None,
        collector=cluster.collector if watched else None,
    )
