"""Clusters: where probes run, and how they are reached."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Index, exists, false, func, or_
from sqlmodel import Field, SQLModel, col

from kubeprobe.store.types import JSONColumn, SpecColumn, UTCDateTime, database_now
from kubeprobe.vocabulary import DEFAULT_MAX_IN_FLIGHT


class Cluster(SQLModel, table=True):
    """A Kubernetes cluster.

    `connection` is encrypted JSON (`fleet.credentials`); `connection_version` grows when it changes, so that
    cached clients are dropped. `failures`, `open_until` and `trial_until` are the breaker (`fleet.breaker`);
    `collector` watches the cluster while its own lease lasts (`Collector.leased_until`).
    `watches_nodes`: a binding with `nodes` matches it, so its nodes are kept (`Node`). `nodes_listed_at` is when they
    were first listed since then, `nodes_error` why they could not be listed.
    """

    __table_args__ = (Index("ix_cluster_collector", "collector", "updated_at"),)

    name: str = Field(primary_key=True, max_length=63)
    labels: dict[str, str] = Field(default_factory=dict, sa_type=JSONColumn)
    pool: str = Field(default="default", max_length=63, index=True)
    namespace: str = Field(default="kubeprobe", max_length=63)
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT
    connection_kind: str = Field(max_length=16)
    connection: bytes
    connection_version: int = 1
    spec: dict[str, Any] | None = Field(default=None, sa_type=SpecColumn)
    """The YAML spec, if the catalog declared the cluster; None if a person added it."""
    source: str | None = Field(default=None, max_length=63)
    """The source that declared it; None if a person added or applied it."""
    cordoned_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    cordon_reason: str = ""
    failures: int = 0
    open_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    trial_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """A launcher sends the first request after a failure; the others wait for its result until then."""
    collector: str | None = Field(default=None, max_length=100)
    watches_nodes: bool = False
    nodes_listed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    nodes_error: str = ""
    swept_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When it was last swept for leftovers."""
    sweep_trouble: str = ""
    """The permissions that KubeProbe's user lacks to remove leftovers: `delete namespaces`."""
    watch_trouble: str = ""
    """What its collector cannot do there: read an object, judge a pod, delete one. Empty: nothing."""
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime | None = Field(
        default=None, sa_type=UTCDateTime, sa_column_kwargs={"default": database_now(), "onupdate": database_now()}
    )
    """When any column was last written, by the database's clock: its collector reads only rows that have changed."""


def is_watched(now: datetime) -> ColumnElement[bool]:
    """Of clusters whose collector, of the same pool, has renewed its lease."""
    mine = (col(Collector.name) == col(Cluster.collector), col(Collector.pool) == col(Cluster.pool))
    return exists().where(*mine, col(Collector.leased_until) > now)


def has_open_breaker(now: datetime) -> ColumnElement[bool]:
    """Of clusters that did not answer and are not retried yet."""
    return or_(*(func.coalesce(until > now, false()) for until in (col(Cluster.open_until), col(Cluster.trial_until))))


class Collector(SQLModel, table=True):
    """A collector process: clusters are distributed among those whose lease lasts.

    One lease for all of its clusters: renewing it costs the same for any number of them.
    """

    name: str = Field(primary_key=True, max_length=100)
    pool: str = Field(max_length=63, index=True)
    leased_until: datetime = Field(sa_type=UTCDateTime)
