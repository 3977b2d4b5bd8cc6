"""The open alerts of one batch, and what the folded outcomes change in them. Next: `outbox`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import and_
from sqlmodel import Session, col, select
from ulid import ULID

from kubeprobe.response.fold import AlertEvent, StandingState, Transition
from kubeprobe.response.outcomes import ClaimedOutcome, StandingKey, has_key
from kubeprobe.store import Alert
from kubeprobe.vocabulary import AlertKind


@dataclass(frozen=True, slots=True)
class AlertUpdate:
    """An alert that an outcome opened or closed: people are notified of it."""

    event: AlertEvent
    alert: Alert
    outcome: ClaimedOutcome


class OpenAlerts:
    """Updates alerts outcome by outcome. Changes are written when the session is flushed."""

    def __init__(self, session: Session, now: datetime, alerts: Iterable[Alert]) -> None:
        self._session = session
        self._now = now
        self._open = {(key_of(found), AlertKind(found.kind)): found for found in alerts}
        self.updates: list[AlertUpdate] = []

    @classmethod
    def read(cls, session: Session, now: datetime, keys: Iterable[StandingKey]) -> Self:
        """The open alerts with these keys, locked until the transaction ends."""
        statement = select(Alert).where(
            col(Alert.closed_at).is_(None), has_key(keys, Alert.cluster, Alert.case, Alert.node)
        )
        return cls(session, now, session.exec(statement.order_by(col(Alert.id)).with_for_update()).all())

    def open_kinds(self, key: StandingKey) -> frozenset[AlertKind]:
        """The kinds of the open alerts with this key."""
        return frozenset(kind for kind in AlertKind if (key, kind) in self._open)

    def apply(
        self, outcome: ClaimedOutcome, standing: StandingState, transitions: Iterable[Transition], severity: str
    ) -> None:
        """Open, close and continue alerts, as folding the outcome has decided."""
        for transition in transitions:
            if transition.event is AlertEvent.CLOSED:
                alert = self._open.pop((outcome.key, transition.kind))
                alert.closed_at = outcome.stored_at
                alert.last_run_id = outcome.run_id
            else:
                alert = self._new(outcome, standing, transition.kind, severity)
            self.updates.append(AlertUpdate(transition.event, alert, outcome))
        for kind in standing.open:
            if kind == outcome.verdict:
                self._open[outcome.key, kind].last_run_id = outcome.run_id

    def _new(self, outcome: ClaimedOutcome, standing: StandingState, kind: AlertKind, severity: str) -> Alert:
        alert = Alert(
            id=str(ULID.from_datetime(self._now)).lower(),
            cluster=outcome.key.subject.cluster,
            case=outcome.key.case,
            node=outcome.key.subject.node_key,
            kind=kind,
            severity=severity,
            reason=outcome.reason,
            message=outcome.message,
            first_run_id=outcome.run_id,
            last_run_id=outcome.run_id,
            opened_at=standing.since,
        )
        self._open[outcome.key, kind] = alert
        self._session.add(alert)
        return alert


def lock_open_alerts(session: Session, keys: Iterable[StandingKey]) -> None:
    """Lock the open alerts with these keys until the transaction ends, whatever their other columns hold."""
    is_open = and_(col(Alert.closed_at).is_(None), has_key(keys, Alert.cluster, Alert.case, Alert.node))
    session.exec(select(Alert.id).where(is_open).order_by(col(Alert.id)).with_for_update()).all()


def key_of(alert: Alert) -> StandingKey:
    """The case and subject of an alert."""
    return StandingKey(alert.case, alert.subject)
