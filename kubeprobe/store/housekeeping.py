"""Housekeeping: when each of its tasks is due."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import UTCDateTime


class Housekeeping(SQLModel, table=True):
    """One task of housekeeping. It is kept here so that neither a restart of beat nor a second beat shifts it."""

    task: str = Field(primary_key=True, max_length=40)
    next_due: datetime = Field(sa_type=UTCDateTime)
