"""From outcomes to alerts and notifications, in one transaction. Next: `deliver` sends what lies in the outbox.

Where every case passes as before, a batch costs two statements: claim the outcomes, read the standings.
Killed anywhere, the transaction is undone and the outcomes wait for the next responder.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.effects import Effects
from kubeprobe.response.alerts import OpenAlerts
from kubeprobe.response.fold import Policy, Standing, fold
from kubeprobe.response.notices import Notices, notify
from kubeprobe.response.outcomes import (
    ClaimedOutcome,
    StandingKey,
    asked_otherwise,
    claim,
    in_order,
    newest_answered,
    nodes_known,
)
from kubeprobe.response.standings import read_standings, write_standings
from kubeprobe.store import Cluster, Store
from kubeprobe.vocabulary import Verdict

log = structlog.get_logger(__name__)

DEFAULT_SEVERITY = "warning"

BATCH = 500
"""Outcomes that one transaction answers."""


def respond(store: Store, catalogs: CatalogCache, now: datetime, limit: int = BATCH) -> Effects:
    """Answer up to `limit` outcomes; returns the notifications that are to be delivered."""
    try:
        notices = _respond(store, catalogs, now, limit)
    except IntegrityError:
        # Another responder was first with the standing of a case that is new on its cluster. It is there to read now.
        notices = _respond(store, catalogs, now, limit)
    for message in notices.unrouted:
        log.warning("no alert route for this alert", alert=message.alert, title=message.title, run=message.run)
    return Effects(deliver=[notification.id for notification in notices.notifications])


def _respond(store: Store, catalogs: CatalogCache, now: datetime, limit: int) -> Notices:
    with store.writing() as session:
        answers = [outcome for outcome in claim(session, now, limit) if outcome.answers]
        if not answers:
            return Notices((), ())
        known = [found for outcome in answers if (found := nodes_known(outcome))]
        standings = read_standings(session, {outcome.key for outcome in (*answers, *known)})
        answers += _needed(standings, known)
        moving = _moving(standings, answers)
        if not moving:
            return Notices((), ())
        return _Batch.read(session, catalogs, standings, moving, now).answer()


def _needed(standings: Mapping[StandingKey, Standing], known: Iterable[ClaimedOutcome]) -> list[ClaimedOutcome]:
    """That nodes are known counts only where they were not, and once."""
    latest = {outcome.key: outcome for outcome in known}
    return [found for key, found in latest.items() if key in standings and not standings[key].at_rest]


def _moving(
    standings: Mapping[StandingKey, Standing], answers: Iterable[ClaimedOutcome]
) -> dict[StandingKey, list[ClaimedOutcome]]:
    """The outcomes by key, without the keys that pass as they did before."""
    by_key: dict[StandingKey, list[ClaimedOutcome]] = {}
    for outcome in sorted(answers, key=in_order):
        by_key.setdefault(outcome.key, []).append(outcome)
    return {
        key: outcomes
        for key, outcomes in by_key.items()
        if not (key in standings and standings[key].at_rest and all(o.verdict == Verdict.PASS for o in outcomes))
    }


@dataclass(frozen=True, slots=True)
class _Batch:
    """The outcomes that may change something, and all that is needed to tell what."""

    session: Session
    now: datetime
    catalog: Catalog
    standings: Mapping[StandingKey, Standing]
    moving: Mapping[StandingKey, Sequence[ClaimedOutcome]]
    clusters: Mapping[str, Cluster]
    newest: Mapping[StandingKey, datetime]
    book: OpenAlerts

    @classmethod
    def read(
        cls,
        session: Session,
        catalogs: CatalogCache,
        standings: Mapping[StandingKey, Standing],
        moving: Mapping[StandingKey, Sequence[ClaimedOutcome]],
        now: datetime,
    ) -> "_Batch":
        """Read what the store knows of these keys."""
        outcomes = [outcome for group in moving.values() for outcome in group]
        otherwise = asked_otherwise(session, outcomes)
        resting = [o for o in outcomes if o.key in standings and standings[o.key].at_rest]
        names = {outcome.key.subject.cluster for outcome in outcomes}
        clusters = session.exec(select(Cluster).where(col(Cluster.name).in_(names))).all()
        return cls(
            session=session,
            now=now,
            catalog=catalogs.current(session),
            standings=standings,
            moving={key: [o for o in group if o.run_id not in otherwise] for key, group in moving.items()},
            clusters={cluster.name: cluster for cluster in clusters},
            newest=newest_answered(session, resting) if resting else {},
            book=OpenAlerts.read(session, now, moving),
        )

    def answer(self) -> Notices:
        """Fold, and write what came of it."""
        after = {key: self._fold(key) for key in self.moving}
        write_standings(self.session, self.standings, {key: found for key, found in after.items() if found})
        return notify(self.session, self.catalog, self.clusters, self.book.happenings, self.now)

    def _fold(self, key: StandingKey) -> Standing | None:
        standing, policy = self._standing(key), self._policy(key)
        case = self.catalog.cases.get(key.case)
        severity = str(case.severity) if case else DEFAULT_SEVERITY
        for outcome in self.moving[key]:
            folded, transitions = fold(standing, outcome, policy)
            if folded is not None and folded is not standing:
                self.book.follow(outcome, folded, transitions, severity)
            standing = folded
        return standing

    def _standing(self, key: StandingKey) -> Standing | None:
        standing = self.standings.get(key)
        if standing is None:
            return None
        due_at = max(standing.due_at, self.newest.get(key, standing.due_at))
        return replace(standing, due_at=due_at, open=self.book.open_kinds(key))

    def _policy(self, key: StandingKey) -> Policy:
        cluster, case = self.clusters.get(key.subject.cluster), self.catalog.cases.get(key.case)
        muted = cluster is None or cluster.cordoned_at is not None
        if case is None:
            return Policy(muted=True)
        return Policy(alert_after=case.alert_after, unknown_after=case.unknown_after, muted=muted)
