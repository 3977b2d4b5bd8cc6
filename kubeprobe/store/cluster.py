"""Clusters: where probes run, and what is known of the way there."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import JSONColumn, UTCDateTime
from kubeprobe.vocabulary import DEFAULT_MAX_IN_FLIGHT


class Cluster(SQLModel, table=True):
    """A Kubernetes cluster.

    `connection` is encrypted JSON (`fleet.credentials`); `connection_version` grows when it changes, so that
    cached clients are dropped. `failures` and `open_until` are the breaker, `collector` and `leased_until`
    say who watches the cluster.
    `watches_nodes`: a binding with `nodes` matches it, so its nodes are to be known (`Node`). `nodes_listed_at` is when
    they were first known since then, `nodes_error` why they are not.
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
    """The YAML spec, where the catalog declared the cluster; empty where a person added it."""
    source: str | None = Field(default=None, max_length=63)
    """The source that declared it; None where nobody did, or a person applied it."""
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
    """When it was last looked for what probes left behind."""
    sweep_trouble: str = ""
    """What KubeProbe's user may not do to remove it: `delete namespaces`."""
    created_at: datetime = Field(sa_type=UTCDateTime)


class Collector(SQLModel, table=True):
    """A living collector process: clusters are shared out among those seen lately."""

    name: str = Field(primary_key=True, max_length=100)
    pool: str = Field(max_length=63, index=True)
    seen_at: datetime = Field(sa_type=UTCDateTime)
