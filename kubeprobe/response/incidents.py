"""The incidents of one batch: those that were open, and what the folded outcomes make of them. Next: `notices`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlmodel import Session, col, select
from ulid import ULID

from kubeprobe.response.fold import Event, Standing, Transition
from kubeprobe.response.outcomes import ClaimedOutcome, Place, in_places
from kubeprobe.store import Incident
from kubeprobe.vocabulary import IncidentKind


@dataclass(frozen=True, slots=True)
class Happening:
    """An incident opened or closed by an outcome: what people are told of."""

    event: Event
    incident: Incident
    outcome: ClaimedOutcome


class IncidentBook:
    """Follows incidents through a batch. What changes is written when the session is."""

    def __init__(self, session: Session, now: datetime, incidents: Iterable[Incident]) -> None:
        self._session = session
        self._now = now
        self._open = {(found.cluster, found.case, found.node, found.kind): found for found in incidents}
        self.happenings: list[Happening] = []

    @classmethod
    def read(cls, session: Session, now: datetime, places: Iterable[Place]) -> Self:
        """The open incidents of these places."""
        statement = select(Incident).where(
            col(Incident.closed_at).is_(None), in_places(places, Incident.cluster, Incident.case, col(Incident.node))
        )
        return cls(session, now, session.exec(statement).all())

    def open_kinds(self, place: Place) -> frozenset[IncidentKind]:
        """The kinds of the incidents that are open there."""
        return frozenset(kind for kind in IncidentKind if (*place, kind) in self._open)

    def follow(
        self, outcome: ClaimedOutcome, standing: Standing, transitions: Iterable[Transition], severity: str
    ) -> None:
        """Open, close and go on with incidents, as folding the outcome has decided."""
        for transition in transitions:
            if transition.event is Event.CLOSED:
                incident = self._open.pop((*outcome.place, transition.kind))
                incident.closed_at = outcome.stored_at
                incident.last_run_id = outcome.run_id
            else:
                incident = self._new(outcome, standing, transition.kind, severity)
            self.happenings.append(Happening(transition.event, incident, outcome))
        for kind in standing.open:
            if kind == outcome.verdict:
                self._open[(*outcome.place, kind)].last_run_id = outcome.run_id

    def _new(self, outcome: ClaimedOutcome, standing: Standing, kind: IncidentKind, severity: str) -> Incident:
        incident = Incident(
            id=str(ULID.from_datetime(self._now)).lower(),
            cluster=outcome.cluster,
            case=outcome.case,
            node=outcome.place[2],
            kind=kind,
            severity=severity,
            reason=outcome.reason,
            message=outcome.message,
            first_run_id=outcome.run_id,
            last_run_id=outcome.run_id,
            opened_at=standing.since,
        )
        self._open[(*outcome.place, kind)] = incident
        self._session.add(incident)
        return incident
