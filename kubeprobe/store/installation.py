"""The installation: one KubeProbe. Its id labels every pod that it creates."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import UTCDateTime


class Installation(SQLModel, table=True):
    """One row, made by the first migration; `id` is a ULID."""

    id: str = Field(primary_key=True, max_length=26)
    created_at: datetime = Field(sa_type=UTCDateTime)
