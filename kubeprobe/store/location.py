"""Where pods of clusters are: kept while pods may be there, though the cluster is elsewhere by now, or removed."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import UTCDateTime


class PodLocation(SQLModel, table=True):
    """An API server's address and a namespace in which pods of a cluster were created (`execution.locations`).

    `connection` is the newest one with this address, encrypted; `connection_version` and `cluster_created_at` are those
    of the cluster's row that it was copied from.
    """

    __tablename__ = "pod_location"

    id: str = Field(primary_key=True, max_length=32)
    """A digest of cluster, address and namespace."""
    cluster: str = Field(max_length=63, index=True)
    cluster_created_at: datetime = Field(sa_type=UTCDateTime)
    namespace: str = Field(max_length=63)
    connection: bytes
    connection_version: int
    left_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When it was found that the cluster has another address or namespace, or is removed."""
