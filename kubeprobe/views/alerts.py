"""Alerts, the newest first."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import computed_field
from sqlalchemy import literal, tuple_
from sqlmodel import Session, col, func, select

from kubeprobe.errors import InvalidInputError
from kubeprobe.jsonmodel import JsonModel, Page
from kubeprobe.store import Alert
from kubeprobe.store.types import UTCDateTime
from kubeprobe.vocabulary import Subject


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts: every condition that is given must hold."""

    clusters: Collection[str] | None = None
    case: str | None = None
    kind: str | None = None
    open_only: bool = True


@dataclass(frozen=True)
class AlertView(JsonModel):
    """One alert; `kind` is `fail` or `unknown`, `closed_at` is None while it is firing."""

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

    @computed_field  # type: ignore[prop-decorator]
    @property
    def subject(self) -> str:
        """What it is about, in words: a cluster, or a node of it."""
        return str(Subject(self.cluster, self.node))


def list_alerts(
    session: Session, wanted: AlertFilter | None = None, limit: int = 1000, after: str | None = None
) -> Page[AlertView]:
    """Alerts, the newest first; `after`: the `next` of the page before, or InvalidInputError is raised."""
    order = tuple_(col(Alert.opened_at), col(Alert.id))
    chosen = select(Alert).where(*_conditions(wanted or AlertFilter()))
    if after is not None:
        chosen = chosen.where(order < tuple_(*_position(after)))
    rows = session.exec(chosen.order_by(col(Alert.opened_at).desc(), col(Alert.id).desc()).limit(limit + 1)).all()
    following = _cursor(rows[limit - 1]) if len(rows) > limit else None
    return Page(tuple(_view(row) for row in rows[:limit]), following)


def count_alerts(session: Session, wanted: AlertFilter | None = None) -> int:
    """How many there are."""
    counted = select(func.count()).select_from(Alert).where(*_conditions(wanted or AlertFilter()))
    return int(session.exec(counted).one())


def _conditions(wanted: AlertFilter) -> list[Any]:
    given = {col(Alert.case): wanted.case, col(Alert.kind): wanted.kind}
    conditions: list[Any] = [column == value for column, value in given.items() if value is not None]
    if wanted.clusters is not None:
        conditions.append(col(Alert.cluster).in_(wanted.clusters))
    if wanted.open_only:
        conditions.append(col(Alert.closed_at).is_(None))
    return conditions


def _cursor(row: Alert) -> str:
    return f"{row.opened_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}/{row.id}"


def _position(cursor: str) -> tuple[Any, str]:
    moment, _, alert_id = cursor.partition("/")
    try:
        opened_at = datetime.fromisoformat(moment)
    except ValueError:
        opened_at = None
    if opened_at is None or opened_at.tzinfo is None:
        raise InvalidInputError(f"{cursor!r} is not a cursor of alerts: pass on `next` of the page before")
    return literal(opened_at, UTCDateTime()), alert_id


def _view(row: Alert) -> AlertView:
    return AlertView(**{name: getattr(row, name) for name in AlertView.__dataclass_fields__})
