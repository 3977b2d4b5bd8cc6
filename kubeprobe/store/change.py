"""Changes: something that happened to a component in a cluster."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from kubeprobe.store.node import NODE_NAME_LENGTH
from kubeprobe.store.types import JSONColumn, UTCDateTime


class Change(SQLModel, table=True):
    """A rollout, upgrade or configuration. Told twice with the same id, it is one change."""

    id: str = Field(primary_key=True, max_length=100)
    component: str = Field(max_length=63, index=True)
    version: str = ""
    clusters: list[str] = Field(default_factory=list, sa_type=JSONColumn)
    node: str | None = Field(default=None, max_length=NODE_NAME_LENGTH)
    """Where on its one cluster it happened; None: no single node."""
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSONColumn)
    happened_at: datetime = Field(sa_type=UTCDateTime)
