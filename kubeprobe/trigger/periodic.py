"""Periodic runs: opens the runs of schedules that are due, in batches.

Beat calls it once a tick. Any number of beats may run: due rows are locked with SKIP LOCKED and a slot's key is unique
(failure mode 26). The cost of a tick depends on the due schedules, not on the number of schedules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Select, update
from sqlmodel import Session, col, select

from kubeprobe import metrics
from kubeprobe.catalog.snapshot import case_commit
from kubeprobe.catalog.times import due_between, next_due
from kubeprobe.effects import Effects
from kubeprobe.runs import OpenedRun, Opening, open_runs, replace_runs, slot_of
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Node, ProbeCase, Run, Schedule, Store, is_open, subject_of_run, update_each
from kubeprobe.store.invalid import delete_invalid_json, replace_invalid_times
from kubeprobe.trigger.nodes import KnownNodes, parse_choice
from kubeprobe.vocabulary import Concurrency, Reason, Subject, Trigger

log = structlog.get_logger(__name__)

RETRY_BROKEN_SCHEDULE_AFTER = timedelta(hours=1)
BATCH = 1000
"""Schedules per transaction; if more are due, the next tick follows at once."""
MAX_RUNS = 5000
"""Runs after which a transaction takes no further schedule: one with many nodes opens many runs."""
_ConcurrencyKey = tuple[int, Subject]
"""Of a schedule and a subject one run is open at a time, unless `concurrency` is `allow`."""


@dataclass(frozen=True)
class Tick:
    """The result of one tick, and when the next one is needed."""

    opened: list[OpenedRun] = field(default_factory=list)
    replaced: list[OpenedRun] = field(default_factory=list)
    """Earlier runs that this tick closed; their pods are to be removed."""
    ended: bool = False
    """Whether outcomes were stored, which a responder is to process."""
    next_due: datetime | None = None
    """When the next slot is due; not later than now if more may be due. None: no schedules."""

    @property
    def effects(self) -> Effects:
        """To be dispatched after the commit."""
        return Effects(launch=self.opened, remove=self.replaced, responders=int(self.ended))


def issue_due(store: Store, now: datetime, settings: Settings) -> Tick:
    """Open a run for every schedule that is due, and advance each to its next slot.

    After an outage a schedule gets one run, for its latest slot; the slots before it are one `Missed` outcome that
    counts them (failure mode 27). Slots of a cluster that is cordoned or removed leave no record: that is the meaning
    of maintenance. A binding with `nodes` gets a run for each node of the sample, or one outcome (`NoNodes`) if its
    nodes are not known. A row that cannot be read stops no other.
    """
    try:
        return _issue_due(store, now, settings)
    except ValueError:
        if not _set_aside_invalid(store, now):
            raise
    return _issue_due(store, now, settings)


def _issue_due(store: Store, now: datetime, settings: Settings) -> Tick:
    with store.writing() as session:
        due = session.exec(
            select(
                Schedule,
                (col(Cluster.name).is_not(None) & col(Cluster.cordoned_at).is_(None)).label("served"),
                case_commit().label("commit"),
            )
            # Outer joins: with inner joins the database may read clusters and cases first, all of them.
            .join(Cluster, col(Cluster.name) == col(Schedule.cluster), isouter=True)
            .join(ProbeCase, col(ProbeCase.name) == col(Schedule.case), isouter=True)
            .where(col(Schedule.paused_at).is_(None), col(Schedule.next_due) <= now)
            .order_by(col(Schedule.next_due))
            .limit(BATCH)
            .with_for_update(of=Schedule, skip_locked=True)
        ).all()
        if not due:
            return Tick(next_due=session.scalars(_next()).first())
        issue = _issue(session, [(schedule, is_served) for schedule, is_served, _ in due], now)
        replaced = replace_runs(session, issue.replaced, now)
        commits = {schedule.case: commit for schedule, _, commit in due}
        openings = [replace(opening, case_commit=commits[opening.case]) for opening in issue.openings]
        opened = open_runs(session, openings, now, settings)
        _advance(session, issue.done, issue.cursors, now)
    ended = bool(replaced) or any(o.reason is not None for o in issue.openings)
    return Tick(opened, replaced, ended=ended, next_due=now)


def _set_aside_invalid(store: Store, now: datetime) -> bool:
    """Whether times were replaced, or nodes deleted, which collectors list again. A schedule is due at once."""
    with store.writing() as session:
        schedules = replace_invalid_times(session, Schedule, now)
        clusters = replace_invalid_times(session, Cluster, now)
        nodes = delete_invalid_json(session, Node)
    for kind, replaced in (("schedules", schedules), ("clusters", clusters), ("nodes", nodes)):
        for key in replaced:
            metrics.record_set_aside(kind)
            log.error("invalid row set aside", kind=kind, key=key)
    return bool(schedules or clusters or nodes)


def _next() -> Select[Any]:
    return (
        select(col(Schedule.next_due))
        .where(col(Schedule.paused_at).is_(None))
        .order_by(col(Schedule.next_due))
        .limit(1)
    )


@dataclass(frozen=True)
class _Issue:
    """What one transaction writes: openings, and the schedules that they belong to."""

    openings: list[Opening] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """Ids of earlier runs that the openings replace."""
    done: list[Schedule] = field(default_factory=list)
    cursors: dict[int, str] = field(default_factory=dict)
    """The cursors of the next samples of nodes, by schedule."""


def _issue(session: Session, due: Sequence[Any], now: datetime) -> _Issue:
    """The slots of due schedules; those of a cluster that is not served leave no record."""
    served = [schedule for schedule, is_served in due if is_served]
    still_open = _open_runs_of(session, [s.id for s in served if s.id and s.concurrency != Concurrency.ALLOW])
    nodes = KnownNodes.read(session, {s.cluster for s in served if s.nodes is not None})
    issue = _Issue()
    for schedule, is_served in due:
        if len(issue.openings) >= MAX_RUNS:
            break  # the others remain due
        issue.done.append(schedule)
        if is_served:
            _add_slots(issue, schedule, nodes, still_open, now)
    return issue


def _add_slots(
    issue: _Issue, schedule: Schedule, nodes: KnownNodes, still_open: Mapping[_ConcurrencyKey, list[str]], now: datetime
) -> None:
    """The slots of one schedule: one for its cluster, or one for each node of the sample."""
    missed, later = _missed(schedule, now)
    latest = later or schedule.next_due
    whole = Subject(schedule.cluster) if schedule.nodes is None else Subject.of_nodes(schedule.cluster)
    if missed:
        message = f"{missed} slots passed while no beat could open them."
        issue.openings.append(_opening(schedule, whole, schedule.next_due, Reason.MISSED, message, missed=missed))
    subjects = [whole]
    if schedule.nodes is not None:
        try:
            choice = parse_choice(schedule.nodes)
        except ValueError as error:  # of another version
            message = f"The stored nodes of binding {schedule.binding} are invalid in this version of KubeProbe."
            log.error("nodes of schedule invalid", binding=schedule.binding, cluster=schedule.cluster, error=str(error))
            issue.openings.append(_opening(schedule, whole, latest, Reason.NOT_LAUNCHED, message))
            return
        sample = nodes.sample(schedule.cluster, choice, schedule.case, schedule.node_cursor)
        issue.cursors[schedule.id or 0] = sample.cursor
        if sample.problem:
            issue.openings.append(_opening(schedule, whole, latest, Reason.NO_NODES, sample.problem))
        subjects = [Subject(schedule.cluster, node) for node in sample.nodes]
    for subject in subjects:
        earlier = still_open.get((schedule.id or 0, subject), [])
        if earlier and schedule.concurrency == Concurrency.FORBID:
            message = f"Run {earlier[0]} of an earlier slot was still open (concurrency: forbid)."
            issue.openings.append(_opening(schedule, subject, latest, Reason.STILL_RUNNING, message))
            continue
        issue.replaced.extend(earlier)
        issue.openings.append(_opening(schedule, subject, latest))


def _opening(
    schedule: Schedule,
    subject: Subject,
    due_at: datetime,
    reason: Reason | None = None,
    message: str = "",
    *,
    missed: int = 0,
) -> Opening:
    return Opening(
        slot=slot_of("periodic", schedule.binding, schedule.case, subject, due_at.isoformat()),
        trigger=Trigger.PERIODIC,
        case=schedule.case,
        subject=subject,
        pool=schedule.pool,
        due_at=due_at,
        binding=schedule.binding,
        schedule_id=schedule.id,
        reason=reason,
        message=message,
        missed=missed,
    )


def _open_runs_of(session: Session, schedule_ids: list[int]) -> dict[_ConcurrencyKey, list[str]]:
    found: dict[_ConcurrencyKey, list[str]] = {}
    if schedule_ids:
        columns = (col(Run.schedule_id), col(Run.cluster), col(Run.node), col(Run.id))
        still_open = select(*columns).where(col(Run.schedule_id).in_(schedule_ids), is_open())
        for schedule_id, cluster, node, run_id in session.exec(still_open):
            found.setdefault((schedule_id or 0, subject_of_run(cluster, node)), []).append(run_id)
    return found


def _missed(schedule: Schedule, now: datetime) -> tuple[int, datetime | None]:
    try:
        return due_between(schedule, schedule.next_due, now)
    except Exception:
        log.exception("missed slots not countable", binding=schedule.binding, cluster=schedule.cluster)
        return 0, None


def _next_due(schedule: Schedule, now: datetime) -> datetime:
    """A schedule whose next time cannot be computed (an unknown time zone) must not stop the others."""
    try:
        return next_due(schedule, now)
    except Exception:
        log.exception("next slot not computable", binding=schedule.binding, cluster=schedule.cluster)
        return now + RETRY_BROKEN_SCHEDULE_AFTER


def _advance(session: Session, schedules: Sequence[Schedule], cursors: Mapping[int, str], now: datetime) -> None:
    rows = [
        {"id": s.id, "next_due": _next_due(s, now), "node_cursor": cursors.get(s.id or 0, s.node_cursor)}
        for s in schedules
    ]
    given = update_each(Schedule, rows)
    session.execute(
        update(Schedule)
        .where(col(Schedule.id) == given.c.id)
        .values(next_due=given.c.next_due, node_cursor=given.c.node_cursor),
        execution_options={"synchronize_session": False},
    )
