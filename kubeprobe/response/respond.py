"""From outcomes to alerts and notifications, in one transaction. Next: `deliver` sends the notifications.

Where every case passes as before, a batch costs two statements: claim the outcomes, read the standings.
If the process is killed, the transaction is rolled back and the next responder processes the outcomes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlmodel import Session, col, select

from kubeprobe import metrics
from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.effects import Effects
from kubeprobe.errors import KubeProbeError
from kubeprobe.response.alerts import OpenAlerts, lock_open_alerts
from kubeprobe.response.fold import AlertPolicy, StandingState, fold
from kubeprobe.response.outbox import OutboxEntries, write_notifications
from kubeprobe.response.outcomes import (
    ClaimedOutcome,
    StandingKey,
    claim,
    locking_order,
    newest_processed,
    pass_for_nodes,
    processing_order,
    with_own_parameters,
)
from kubeprobe.response.routes import target_of
from kubeprobe.response.setaside import set_aside
from kubeprobe.response.standings import lock_standings, read_standings, write_standings
from kubeprobe.store import Cluster, Store
from kubeprobe.vocabulary import Severity, Verdict

log = structlog.get_logger(__name__)

DEFAULT_SEVERITY = "warning"

BATCH = 500
"""Outcomes that one transaction processes."""


def respond(store: Store, catalogs: CatalogCache, now: datetime, limit: int = BATCH) -> Effects:
    """Process up to `limit` outcomes; the effects are the targets to send to.

    Where one case on one subject cannot be processed, its outcomes are set aside with the error (`ResponseError`), and
    the others are processed. The error of a database that is unavailable is raised.
    """
    try:
        written = _respond_or_retry(store, catalogs, now, limit)
    except (OperationalError, InterfaceError, KubeProbeError):
        raise
    except Exception:
        log.exception("batch of outcomes failed; each case on each subject is processed on its own")
        written = _respond(store, catalogs, now, limit, _process_each)
    if written.set_aside:
        metrics.record_outcomes_set_aside(written.set_aside)
    for message in written.unrouted:
        log.warning("no alert route for this alert", alert=message.alert, title=message.title, run=message.run)
    return Effects(deliver=sorted({target_of(notification) for notification in written.notifications}))


def _respond_or_retry(store: Store, catalogs: CatalogCache, now: datetime, limit: int) -> OutboxEntries:
    try:
        return _respond(store, catalogs, now, limit, _process)
    except IntegrityError:
        # Another responder was first to insert the standing of a new key. It can be read now.
        return _respond(store, catalogs, now, limit, _process)


_Process = Callable[
    [Session, CatalogCache, Sequence[ClaimedOutcome], Sequence[ClaimedOutcome], datetime], OutboxEntries
]


def _respond(store: Store, catalogs: CatalogCache, now: datetime, limit: int, process: _Process) -> OutboxEntries:
    with store.writing() as session:
        outcomes = [outcome for outcome in claim(session, now, limit) if outcome.is_counted]
        for_nodes = [found for outcome in outcomes if (found := pass_for_nodes(outcome))]
        return process(session, catalogs, outcomes, for_nodes, now) if outcomes else OutboxEntries((), ())


def _process(
    session: Session,
    catalogs: CatalogCache,
    outcomes: Sequence[ClaimedOutcome],
    for_nodes: Sequence[ClaimedOutcome],
    now: datetime,
) -> OutboxEntries:
    standings = read_standings(session, {outcome.key for outcome in (*outcomes, *for_nodes)})
    changing = _changing(standings, [*outcomes, *_needed(standings, for_nodes)])
    if not changing:
        return OutboxEntries((), ())
    return _Batch.read(session, catalogs, standings, changing, now).process()


def _process_each(
    session: Session,
    catalogs: CatalogCache,
    outcomes: Sequence[ClaimedOutcome],
    for_nodes: Sequence[ClaimedOutcome],
    now: datetime,
) -> OutboxEntries:
    """Each case on each subject in a savepoint of its own. All rows are locked first, in the order of `_process`."""
    catalogs.current(session)  # if it cannot be loaded, no outcome is to blame
    groups: dict[StandingKey, tuple[list[ClaimedOutcome], list[ClaimedOutcome]]] = {}
    for position, given in enumerate((outcomes, for_nodes)):
        for outcome in given:
            groups.setdefault(outcome.key, ([], []))[position].append(outcome)
    written = OutboxEntries((), ())
    lock_standings(session, groups.keys())
    lock_open_alerts(session, groups.keys())
    for key in sorted(groups, key=locking_order):
        own, of_nodes = groups[key]
        try:
            with session.begin_nested():
                one = _process(session, catalogs, own, of_nodes, now)
                session.flush()
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log.exception("outcomes set aside", case=key.case, subject=str(key.subject), outcomes=len(own))
            set_aside(session, key, own or of_nodes, error, now)
            written = replace(written, set_aside=written.set_aside + len(own or of_nodes))
        else:
            written = replace(
                written,
                notifications=(*written.notifications, *one.notifications),
                unrouted=(*written.unrouted, *one.unrouted),
            )
    return written


def _needed(
    standings: Mapping[StandingKey, StandingState], for_nodes: Iterable[ClaimedOutcome]
) -> list[ClaimedOutcome]:
    """Of the passes for nodes as a whole the latest, where that standing is not a pass already."""
    latest = {outcome.key: outcome for outcome in for_nodes}
    return [found for key, found in latest.items() if key in standings and not standings[key].is_steady_pass]


def _changing(
    standings: Mapping[StandingKey, StandingState], claimed: Iterable[ClaimedOutcome]
) -> dict[StandingKey, list[ClaimedOutcome]]:
    """The outcomes by key, without the keys that pass as before."""
    by_key: dict[StandingKey, list[ClaimedOutcome]] = {}
    for outcome in sorted(claimed, key=processing_order):
        by_key.setdefault(outcome.key, []).append(outcome)
    return {
        key: outcomes
        for key, outcomes in by_key.items()
        if not (key in standings and standings[key].is_steady_pass and all(o.verdict == Verdict.PASS for o in outcomes))
    }


@dataclass(frozen=True, slots=True)
class _Batch:
    """The outcomes that may change a standing, and what is needed to fold them."""

    session: Session
    now: datetime
    catalog: Catalog
    standings: Mapping[StandingKey, StandingState]
    outcomes: Mapping[StandingKey, Sequence[ClaimedOutcome]]
    clusters: Mapping[str, Cluster]
    newest: Mapping[StandingKey, datetime]
    alerts: OpenAlerts

    @classmethod
    def read(
        cls,
        session: Session,
        catalogs: CatalogCache,
        standings: Mapping[StandingKey, StandingState],
        outcomes: Mapping[StandingKey, Sequence[ClaimedOutcome]],
        now: datetime,
    ) -> "_Batch":
        """Read clusters, open alerts and earlier outcomes of these keys."""
        claimed = [outcome for group in outcomes.values() for outcome in group]
        left_out = with_own_parameters(session, claimed)
        steady = [o for o in claimed if o.key in standings and standings[o.key].is_steady_pass]
        names = {outcome.key.subject.cluster for outcome in claimed}
        clusters = session.exec(select(Cluster).where(col(Cluster.name).in_(names))).all()
        return cls(
            session=session,
            now=now,
            catalog=catalogs.current(session),
            standings=standings,
            outcomes={key: [o for o in group if o.run_id not in left_out] for key, group in outcomes.items()},
            clusters={cluster.name: cluster for cluster in clusters},
            newest=newest_processed(session, steady) if steady else {},
            alerts=OpenAlerts.read(session, now, outcomes),
        )

    def process(self) -> OutboxEntries:
        """Fold the outcomes and write the result."""
        after = {key: self._fold(key) for key in self.outcomes}
        write_standings(self.session, self.standings, {key: found for key, found in after.items() if found})
        return write_notifications(self.session, self.catalog, self.clusters, self.alerts.updates, self.now)

    def _fold(self, key: StandingKey) -> StandingState | None:
        standing, policy = self._standing(key), self._policy(key)
        severity = self._severity(key.case)
        for outcome in self.outcomes[key]:
            folded, transitions = fold(standing, outcome, policy)
            if folded is not None and folded is not standing:
                self.alerts.apply(outcome, folded, transitions, severity)
            standing = folded
        return standing

    def _standing(self, key: StandingKey) -> StandingState | None:
        standing = self.standings.get(key)
        if standing is None:
            return None
        due_at = max(standing.due_at, self.newest.get(key, standing.due_at))
        return replace(standing, due_at=due_at, open=self.alerts.open_kinds(key))

    def _severity(self, name: str) -> str:
        if (case := self.catalog.cases.get(name)) is not None:
            return str(case.severity)
        unreadable = self.catalog.unreadable.get(("ProbeCase", name))
        stored = unreadable.text("severity") if unreadable else None
        return stored if stored in set(Severity) else DEFAULT_SEVERITY

    def _policy(self, key: StandingKey) -> AlertPolicy:
        cluster, case = self.clusters.get(key.subject.cluster), self.catalog.cases.get(key.case)
        muted = cluster is None or cluster.cordoned_at is not None
        if case is None:  # removed, or unreadable: then what is observed still counts
            return AlertPolicy(muted=muted or ("ProbeCase", key.case) not in self.catalog.unreadable)
        return AlertPolicy(alert_after=case.alert_after, unknown_after=case.unknown_after, muted=muted)
