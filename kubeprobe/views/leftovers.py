"""What a run's probe left behind."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Leftover


@dataclass(frozen=True)
class LeftoverView(JsonModel):
    """An object that the sweeper had to remove."""

    resource: str
    namespace: str
    name: str
    found_at: datetime
    gone_at: datetime | None
    stuck: str
    """Why it is still there; empty: it was removed."""


def leftovers_of(session: Session, run_id: str) -> tuple[LeftoverView, ...]:
    """What a run's probe left behind."""
    rows = session.exec(select(Leftover).where(Leftover.run_id == run_id).order_by(Leftover.resource, Leftover.name))
    return tuple(LeftoverView(r.resource, r.namespace, r.name, r.found_at, r.gone_at, r.stuck) for r in rows)
