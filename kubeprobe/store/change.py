"""Changes: something that happened to a component in a cluster."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from kubeprobe.store.node import NODE_NAME_LENGTH
from kubeprobe.store.types import JSONColumn, UTCDateTime


class Change(SQLModel, table=True):
    """A rollout, upgrade or configuration. The id is an idempotency key: recorded twice, it is one change."""

    id: str = Field(primary_key=True, max_length=100)
    component: str = Field(max_length=63, index=True)
    version: str = ""
    clusters: list[str] = Field(default_factory=list, sa_type=JSONColumn)
    node: str | None = Field(default=None, max_length=NODE_NAME_LENGTH)
    """The node of its one cluster that changed; None: not a single node."""
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSONColumn)
    happened_at: datetime = Field(sa_type=UTCDateTime)
