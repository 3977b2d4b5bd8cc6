"""Alerts, the newest first."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from kubeprobe.store import Alert


@dataclass(frozen=True)
class AlertView:
    """One alert; `kind` is `fail` or `unknown`, `closed_at` is None while it goes on."""

    id: str
    kind: str
    severity: str
    case: str
    cluster: str
    node: str
    """Empty: the cluster as a whole."""
    reason: str
    message: str
    opened_at: datetime
    closed_at: datetime | None
    first_run_id: str
    last_run_id: str


def list_alerts(
    session: Session, clusters: Collection[str] | None = None, *, open_only: bool = True, limit: int = 1000
) -> list[AlertView]:
    """Alerts, of some clusters (default: all)."""
    chosen = select(Alert).order_by(col(Alert.opened_at).desc(), col(Alert.id)).limit(limit)
    if open_only:
        chosen = chosen.where(col(Alert.closed_at).is_(None))
    return [
        AlertView(
            id=row.id,
            kind=row.kind,
            severity=row.severity,
            case=row.case,
            cluster=row.cluster,
            node=row.node,
            reason=row.reason,
            message=row.message,
            opened_at=row.opened_at,
            closed_at=row.closed_at,
            first_run_id=row.first_run_id,
            last_run_id=row.last_run_id,
        )
        for row in session.exec(chosen)
        if clusters is None or row.cluster in clusters
    ]
