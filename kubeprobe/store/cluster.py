"""Clusters: where probes run, and how they are reached."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, false, func
from sqlmodel import Field, SQLModel, col

from kubeprobe.store.types import JSONColumn, UTCDateTime
from kubeprobe.vocabulary import DEFAULT_MAX_IN_FLIGHT


class Cluster(SQLModel, table=True):
    """A Kubernetes cluster.

    `connection` is encrypted JSON (`fleet.credentials`); `connection_version` grows when it changes, so that
    cached clients are dropped. `failures` and `open_until` are the breaker; `collector` watches the cluster
    until `leased_until`.
    `watches_nodes`: a binding with `nodes` matches it, so its nodes are kept (`Node`). `nodes_listed_at` is when they
    were first listed since then, `nodes_error` why they could not be listed.
    """

    name: str = Field(primary_key=True, max_length=63)
    labels: dict[str, str] = Field(default_factory=dict, sa_type=JSONColumn)
    pool: str = Field(default="default", max_length=63, index=True)
    namespace: str = Field(default="kubeprobe", max_length=63)
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT
    connection_kind: str = Field(max_length=16)
    connection: bytes
    connection_version: int = 1
    spec: dict[str, Any] | None = Field(default=None, sa_type=JSONColumn)
    """The YAML spec, if the catalog declared the cluster; None if a person added it."""
    source: str | None = Field(default=None, max_length=63)
    """The source that declared it; None if a person added or applied it."""
    cordoned_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    cordon_reason: str = ""
    failures: int = 0
    open_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    collector: str | None = Field(default=None, max_length=100)
    leased_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    watches_nodes: bool = False
    nodes_listed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    nodes_error: str = ""
    swept_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When it was last swept for leftovers."""
    sweep_trouble: str = ""
    """The permissions that KubeProbe's user lacks to remove leftovers: `delete namespaces`."""
    created_at: datetime = Field(sa_type=UTCDateTime)


def is_watched(now: datetime) -> ColumnElement[bool]:
    """Of clusters whose collector has renewed its lease."""
    return func.coalesce(col(Cluster.leased_until) > now, false())


def has_open_breaker(now: datetime) -> ColumnElement[bool]:
    """Of clusters that did not answer and are not retried yet."""
    return func.coalesce(col(Cluster.open_until) > now, false())


class Collector(SQLModel, table=True):
    """A collector process: clusters are distributed among those with a recent `seen_at`."""

    name: str = Field(primary_key=True, max_length=100)
    pool: str = Field(max_length=63, index=True)
    seen_at: datetime = Field(sa_type=UTCDateTime)
