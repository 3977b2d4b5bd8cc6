"""Sources: the commit that each is at, why it is not applied, and what was changed by hand since."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from kubeprobe.jsonmodel import JsonModel
from kubeprobe.sources import Drift, find_drift, get_source
from kubeprobe.store import Source


@dataclass(frozen=True)
class SourceView(JsonModel):
    """A source, without its secrets."""

    name: str
    state: str
    """`ok`, `problem` (see `error`) or `paused`."""
    url: str
    branch: str
    path: str
    every_s: int
    prune: bool
    allow: tuple[str, ...]
    """What it may declare beyond probes."""
    entries: int
    """How many it declares."""
    applied_commit: str | None
    applied_at: datetime | None
    seen_commit: str | None
    """The branch's head when it was last fetched."""
    seen_at: datetime | None
    next_sync: datetime
    error: str
    error_since: datetime | None
    drift: tuple[Drift, ...]


def list_sources(session: Session) -> list[SourceView]:
    """All sources, by name."""
    return [_view(session, row) for row in session.exec(select(Source).order_by(col(Source.name))).all()]


def show_source(session: Session, name: str) -> SourceView:
    """One source. Raises NotFoundError."""
    return _view(session, get_source(session, name))


def _view(session: Session, row: Source) -> SourceView:
    return SourceView(
        name=row.name,
        state="paused" if row.paused_at else "problem" if row.error else "ok",
        url=row.url,
        branch=row.branch,
        path=row.path,
        every_s=row.every_s,
        prune=row.prune,
        allow=tuple(row.allow),
        entries=len(row.declared),
        applied_commit=row.applied_commit,
        applied_at=row.applied_at,
        seen_commit=row.seen_commit,
        seen_at=row.seen_at,
        next_sync=row.next_sync,
        error=row.error,
        error_since=row.error_since,
        drift=tuple(find_drift(session, row)),
    )
