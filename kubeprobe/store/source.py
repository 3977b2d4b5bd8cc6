"""Sources: the Git repositories that the catalog comes from."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import JSONColumn, UTCDateTime


class Source(SQLModel, table=True):
    """A folder of a branch of a Git repository, whose YAML is applied whenever it changes.

    `next_sync`: when it is looked at again. Whoever does so claims it: `claim` grows, and until `claimed_until` nobody
    else looks. What is written afterwards is written under the same claim, or not at all.
    """

    name: str = Field(primary_key=True, max_length=63)
    url: str
    branch: str
    path: str = ""
    """Folder within the repository; empty: all of it."""
    every_s: int
    prune: bool = True
    """Whether what the folder no longer declares is removed."""
    secret: bytes | None = None
    """Encrypted JSON (`sources.secret`): deploy key, token, known hosts, the webhook's secret."""
    paused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    next_sync: datetime = Field(sa_type=UTCDateTime)
    claim: int = 0
    claimed_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    seen_commit: str | None = Field(default=None, max_length=64)
    """The branch's head when it was last looked at."""
    seen_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    applied_commit: str | None = Field(default=None, max_length=64)
    """The commit that the catalog is at; a later one that touches nothing in `path` leaves it so."""
    applied_tree: str | None = Field(default=None, max_length=64)
    """Git's id of the folder's content at that commit."""
    applied_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    declared: dict[str, str] = Field(default_factory=dict, sa_type=JSONColumn)
    """`Kind/name` -> digest of what that commit declares: whatever differs in the catalog was changed by hand."""
    error: str = ""
    """Why the last look changed nothing; empty when all is well."""
    error_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    refused_tree: str | None = Field(default=None, max_length=64)
    """The content that could not be applied, while the catalog was at `refused_version`: not tried again as it is."""
    refused_version: int | None = None
    created_at: datetime = Field(sa_type=UTCDateTime)
