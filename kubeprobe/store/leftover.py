"""Leftovers: objects that a probe created and did not remove, and whether they were deleted."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from kubeprobe.store.types import UTCDateTime


class Leftover(SQLModel, table=True):
    """An object that the sweeper removed after its run had ended.

    Identified by UID: a later object of the same name is another one. Refers to cluster and run by name and is kept as
    long as outcomes.
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
    """From its label; the run itself may have been deleted."""
    case: str | None = Field(default=None, max_length=63)
    resource: str
    """As kubectl names it: `deployments.apps`."""
    namespace: str = ""
    """Empty for cluster-scoped objects."""
    name: str
    found_at: datetime = Field(sa_type=UTCDateTime)
    """When its deletion was requested, or found to be stuck."""
    gone_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When a sweep no longer found it."""
    stuck: str = ""
    """Why it still exists long after its deletion was requested."""
