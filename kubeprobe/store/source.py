"""Sources: the Git repositories that the catalog comes from."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import JSONColumn, UTCDateTime


class Source(SQLModel, table=True):
    """A folder of a branch of a Git repository, whose YAML is applied whenever it changes.

    `next_sync`: when it is synchronized next. A worker claims it for that: `claim` grows, and until `claimed_until` no
    other worker synchronizes it. Results are written only under the same claim.
    """

    name: str = Field(primary_key=True, max_length=63)
    url: str
    branch: str
    path: str = ""
    """Folder within the repository; empty: its root."""
    every_s: int
    prune: bool = True
    """Whether objects that the folder no longer declares are removed."""
    allow: list[str] = Field(default_factory=list, sa_type=JSONColumn, sa_column_kwargs={"server_default": "[]"})
    """What it may declare beyond probes (`sources.grants`)."""
    secret: bytes | None = None
    """Encrypted JSON (`sources.secret`): deploy key, token, known hosts, the webhook's secret."""
    paused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    next_sync: datetime = Field(sa_type=UTCDateTime)
    claim: int = 0
    claimed_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    seen_commit: str | None = Field(default=None, max_length=64)
    """The branch's head at the last synchronization."""
    seen_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    applied_commit: str | None = Field(default=None, max_length=64)
    """The commit that was applied last; later commits without changes in `path` are not applied."""
    applied_tree: str | None = Field(default=None, max_length=64)
    """Git's id of the folder's content at that commit."""
    applied_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    declared: dict[str, str] = Field(default_factory=dict, sa_type=JSONColumn)
    """`Kind/name` -> digest, as declared by that commit: an object that differs in the catalog was changed by hand."""
    error: str = ""
    """Why the last synchronization failed; empty if it succeeded."""
    error_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    refused_tree: str | None = Field(default=None, max_length=64)
    """The content that could not be applied to the catalog's `refused_version`: not retried until either changes."""
    refused_version: int | None = None
    created_at: datetime = Field(sa_type=UTCDateTime)
