"""The catalog as it was last applied: one table per kind, with the validated `spec` of the YAML.

`kubeprobe.catalog` reads and writes these rows; no other package reads a `spec`.
"""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from kubeprobe.store.types import SpecColumn, UTCDateTime


class _Entry(SQLModel):
    """The columns of every kind. `digest` is SHA-256 over the canonical spec."""

    name: str = Field(primary_key=True, max_length=63)
    spec: dict[str, Any] = Field(sa_type=SpecColumn)
    digest: str = Field(max_length=64)
    origin: str = ""
    """File and line of its document."""
    source: str | None = Field(default=None, max_length=63)
    """The source that owns it; None if it was applied by hand."""
    commit_id: str | None = Field(default=None, max_length=64)
    """The source's commit that declares it; None if it was applied by hand, over a source or without one."""
    applied_at: datetime = Field(sa_type=UTCDateTime)


class ProbeTemplate(_Entry, table=True):
    """How a probe's pod is built."""

    __tablename__ = "probe_template"


class ProbeCase(_Entry, table=True):
    """A test case: a template with parameters."""

    __tablename__ = "probe_case"


class RenderConfig(_Entry, table=True):
    """Values for a case, by cluster label or cluster."""

    __tablename__ = "render_config"


class Binding(_Entry, table=True):
    """Which cases run on which clusters, on which triggers."""

    paused_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class AlertRoute(_Entry, table=True):
    """Which targets are notified of which alerts."""

    __tablename__ = "alert_route"


class CatalogVersion(SQLModel, table=True):
    """One row (id 1). The version grows with every apply: processes compare it to refresh their copy."""

    __tablename__ = "catalog_version"

    id: int = Field(default=1, primary_key=True)
    version: int = 0
