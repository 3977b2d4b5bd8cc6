"""Nodes of clusters, with what triggers need of them; written by the collector of the cluster (`execution.collect`).

Only clusters that a binding with `nodes` matches have rows here (`Cluster.watches_nodes`).
"""

from datetime import datetime

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import JSONColumn, UTCDateTime

NODE_NAME_LENGTH = 253
"""A node's name is a DNS subdomain (RFC 1123); names in the catalog are shorter."""


class Node(SQLModel, table=True):
    """A node of a cluster. One that has left has no row; a new node of the same name has another `uid`."""

    cluster: str = Field(primary_key=True, max_length=63)
    name: str = Field(primary_key=True, max_length=NODE_NAME_LENGTH)
    uid: str = Field(max_length=36)
    labels: dict[str, str] = Field(default_factory=dict, sa_type=JSONColumn)
    unschedulable: bool = False
    """Cordoned (`kubectl cordon`)."""
    ready: bool = True
    """The node's condition Ready; a node that is not ready is probed too."""
    created_at: datetime = Field(sa_type=UTCDateTime)
    """When it joined the cluster, by the cluster's clock."""
    seen_at: datetime = Field(sa_type=UTCDateTime)
    """When this row was written: only changes are."""
