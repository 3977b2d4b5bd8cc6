"""Leftovers: what a probe created and did not remove, and what became of it."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from kubeprobe.store.types import UTCDateTime


class Leftover(SQLModel, table=True):
    """An object that the sweeper had to remove, because its run was over.

    By its UID: an object of the same name that is made later is another. Kept by name like outcomes, and as long.
    """

    __table_args__ = (
        Index(
            "ix_leftover_there",
            "cluster",
            postgresql_where=text("gone_at IS NULL"),
            sqlite_where=text("gone_at IS NULL"),
        ),
        Index("ix_leftover_found", "found_at"),
    )

    cluster: str = Field(primary_key=True, max_length=63)
    uid: str = Field(primary_key=True, max_length=36)
    run_id: str = Field(max_length=63, index=True)
    """As its label says; the run itself may be forgotten."""
    case: str | None = Field(default=None, max_length=63)
    resource: str
    """As kubectl names it: `deployments.apps`."""
    namespace: str = ""
    """Empty for what belongs to the whole cluster."""
    name: str
    found_at: datetime = Field(sa_type=UTCDateTime)
    """When its deletion was asked for, or seen to be stuck."""
    gone_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When a sweep saw it no more."""
    stuck: str = ""
    """Why it is still there long after its deletion."""
