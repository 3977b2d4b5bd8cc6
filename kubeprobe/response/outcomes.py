"""Takes pending outcomes, those that no responder has processed, out of the store. Next: `fold`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, func, select, tuple_, update
from sqlmodel import Session, col

from kubeprobe.runs.verdicts import UNCOUNTED, is_counted
from kubeprobe.store import Outcome, Run, Store, is_unprocessed, outcome_node_key, subject_of_outcome
from kubeprobe.vocabulary import Reason, Subject, Trigger, Verdict


@dataclass(frozen=True, slots=True)
class StandingKey:
    """A case on a subject. It has one standing, and at most one open alert of each kind."""

    case: str
    subject: Subject

    @classmethod
    def from_columns(cls, cluster: str, case: str, node: str) -> Self:
        """From the columns of a standing or an alert."""
        return cls(case, Subject(cluster, node))


_CLOCK_SKEW = timedelta(minutes=5)
"""More than the error of a measurement of the clock: an outcome could seem to be stored before it was due."""


@dataclass(frozen=True, slots=True)
class ClaimedOutcome:
    """The columns of an outcome that responders need."""

    run_id: str
    key: StandingKey
    trigger: str
    verdict: str
    reason: str
    message: str
    report: dict[str, Any] | None
    due_at: datetime
    stored_at: datetime

    @property
    def is_counted(self) -> bool:
        """Whether it changes the standing."""
        return is_counted(self.reason)


def pass_for_nodes(outcome: ClaimedOutcome) -> ClaimedOutcome | None:
    """For the outcome of a node, a pass for the nodes of its cluster as a whole: nodes can be chosen (again)."""
    subject = outcome.key.subject
    if subject.node is None:
        return None
    key = replace(outcome.key, subject=Subject.of_nodes(subject.cluster))
    message = "The cluster's nodes are known."
    return replace(outcome, key=key, verdict=Verdict.PASS, reason=Reason.PASSED, message=message, report=None)


_SUBJECT = ("cluster", "node", "node_level")
_OTHERS = [column.name for column in fields(ClaimedOutcome) if column.name != "key"]
_COLUMNS = [getattr(Outcome, name) for name in ("case", *_SUBJECT, *_OTHERS)]


def count_unprocessed_outcomes(store: Store) -> int:
    """How many outcomes no responder has processed yet."""
    with store.reading() as session:
        waiting = select(func.count()).select_from(Outcome).where(is_unprocessed())
        return int(session.scalar(waiting) or 0)


def claim(session: Session, now: datetime, limit: int) -> list[ClaimedOutcome]:
    """Mark the longest waiting outcomes as processed, in one statement; returns them in the order of their due times.

    Rows are locked in one order and none is skipped, so a second responder waits for the first and then reads its
    result: two responders give the same standings as one. A rollback makes the outcomes pending again.
    """
    waiting = (
        select(col(Outcome.run_id))
        .where(is_unprocessed())
        .order_by(col(Outcome.stored_at), col(Outcome.run_id))
        .limit(limit)
        .with_for_update()
        .cte("waiting")
    )
    statement = (
        update(Outcome)
        .where(col(Outcome.run_id).in_(select(waiting.c.run_id)), is_unprocessed())
        .values(responded_at=now)
        .returning(*_COLUMNS)
        .execution_options(synchronize_session=False)
    )
    claimed = [_claimed(row) for row in session.execute(statement)]
    return sorted(claimed, key=processing_order)


def find_outcome(session: Session, run_id: str) -> ClaimedOutcome | None:
    """The outcome of a run, if it is still stored."""
    row = session.execute(select(*_COLUMNS).where(col(Outcome.run_id) == run_id)).one_or_none()
    return None if row is None else _claimed(row)


def _claimed(row: Any) -> ClaimedOutcome:
    subject = subject_of_outcome(row.cluster, row.node, node_level=row.node_level)
    return ClaimedOutcome(key=StandingKey(row.case, subject), **{name: getattr(row, name) for name in _OTHERS})


def locking_order(key: StandingKey) -> tuple[str, str, str]:
    """A sort key: the order in which standings are locked and inserted."""
    return key.subject.cluster, key.case, key.subject.node_key


def processing_order(outcome: ClaimedOutcome) -> tuple[datetime, datetime, str]:
    """A sort key: the due time, then the time of storing."""
    return outcome.due_at, outcome.stored_at, outcome.run_id


def newest_processed(session: Session, claimed: Sequence[ClaimedOutcome]) -> dict[StandingKey, datetime]:
    """For each key of these outcomes, the newest due time among the outcomes processed before them.

    Needed only for a standing that is a steady pass: another pass does not write it, so its own due time may be old.
    """
    node = outcome_node_key()
    earliest = min(outcome.due_at for outcome in claimed)
    statement = (
        select(col(Outcome.cluster), col(Outcome.case), node, func.max(col(Outcome.due_at)))
        .join(Run, col(Run.id) == col(Outcome.run_id))
        .where(
            has_key({outcome.key for outcome in claimed}, Outcome.cluster, Outcome.case, node),
            col(Outcome.stored_at) >= earliest - _CLOCK_SKEW,
            col(Outcome.responded_at).is_not(None),
            col(Outcome.run_id).not_in([outcome.run_id for outcome in claimed]),
            col(Outcome.reason).not_in(UNCOUNTED),
            col(Run.parameters).is_(None),
        )
        .group_by(col(Outcome.cluster), col(Outcome.case), node)
    )
    return {StandingKey.from_columns(*columns): due_at for *columns, due_at in session.execute(statement)}


def with_own_parameters(session: Session, claimed: Iterable[ClaimedOutcome]) -> frozenset[str]:
    """Ids of the runs that were given parameters by hand: they don't show how the case itself stands."""
    manual = [outcome.run_id for outcome in claimed if outcome.trigger == Trigger.MANUAL]
    if not manual:
        return frozenset()
    statement = select(col(Run.id)).where(col(Run.id).in_(manual), col(Run.parameters).is_not(None))
    return frozenset(session.scalars(statement))


def has_key(keys: Iterable[StandingKey], cluster: Any, case: Any, node_key: Any) -> ColumnElement[bool]:
    """Whether these columns hold one of the keys."""
    return tuple_(cluster, case, node_key).in_(sorted(map(locking_order, keys)))
