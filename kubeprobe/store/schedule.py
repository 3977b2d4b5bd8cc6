"""Schedules: one row for each binding x case x cluster with a periodic trigger."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from kubeprobe.store.types import UTCDateTime
from kubeprobe.vocabulary import Concurrency


class Schedule(SQLModel, table=True):
    """When a binding's case is due on a cluster. Either `every_s` or `cron` is set.

    `offset_s` (hashed) spreads schedules: it shifts `every` within its interval, `cron` within `spread`.
    """

    __table_args__ = (
        UniqueConstraint("binding", "case", "cluster"),
        # The only index a tick reads: its cost depends on the due rows, not on all rows.
        Index(
            "ix_schedule_due",
            "next_due",
            postgresql_where=text("paused_at IS NULL"),
            sqlite_where=text("paused_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    binding: str = Field(max_length=63)
    case: str = Field(max_length=63)
    cluster: str = Field(max_length=63, index=True)
    pool: str = Field(max_length=63)
    every_s: int | None = None
    cron: str | None = None
    timezone: str = "UTC"
    offset_s: float = 0.0
    concurrency: str = Concurrency.FORBID
    nodes: str | None = None
    """JSON of the binding's `nodes`, if its cases run on single nodes."""
    node_cursor: str = Field(default="", max_length=16)
    """The position on the ring of nodes where the last sample ended (`trigger.sampling`)."""
    next_due: datetime = Field(sa_type=UTCDateTime)
    paused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
