"""Taking unanswered outcomes out of the store. Next: `fold`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, tuple_, update
from sqlmodel import Session, col

from kubeprobe.runs.verdicts import NO_ANSWER, is_answer
from kubeprobe.store import Outcome, Run, Store
from kubeprobe.vocabulary import SOME_NODE, Reason, Trigger, Verdict

Place = tuple[str, str, str]
"""Cluster, case and node (empty: none): what a standing and an alert belong to."""

_CLOCK_SKEW = timedelta(minutes=5)
"""An outcome is stored after it was due; clocks of different machines may tell it otherwise by so much."""


@dataclass(frozen=True, slots=True)
class ClaimedOutcome:
    """An outcome as the response sees it."""

    run_id: str
    cluster: str
    case: str
    node: str | None
    node_level: bool
    trigger: str
    verdict: str
    reason: str
    message: str
    report: dict[str, Any] | None
    due_at: datetime
    stored_at: datetime

    @property
    def place(self) -> Place:
        """What it is about."""
        return self.cluster, self.case, (self.node or SOME_NODE) if self.node_level else ""

    @property
    def answers(self) -> bool:
        """Whether it says anything about how the case stands."""
        return is_answer(self.reason)


def nodes_known(outcome: ClaimedOutcome) -> ClaimedOutcome | None:
    """What the outcome of a node says of the nodes of its cluster as a whole: that some can be chosen (again)."""
    if not outcome.node_level or outcome.node is None:
        return None
    told = "Its nodes are known."
    return replace(outcome, node=None, verdict=Verdict.PASS, reason=Reason.PASSED, message=told, report=None)


_NODE = case((col(Outcome.node_level).is_(other=True), func.coalesce(col(Outcome.node), SOME_NODE)), else_="")
_COLUMNS = [getattr(Outcome, name) for name in ClaimedOutcome.__slots__]


def unanswered(store: Store) -> int:
    """How many outcomes wait for an answer."""
    with store.reading() as session:
        waiting = select(func.count()).select_from(Outcome).where(col(Outcome.responded_at).is_(None))
        return int(session.scalar(waiting) or 0)


def claim(session: Session, now: datetime, limit: int) -> list[ClaimedOutcome]:
    """Mark the longest waiting outcomes as answered, in one statement; gives them in the order of their due times.

    Rows are locked in one order and none is skipped, so a second responder waits for the first and then sees
    what it did: two give the same standings as one. A roll-back gives everything back.
    """
    waiting = (
        select(col(Outcome.run_id))
        .where(col(Outcome.responded_at).is_(None))
        .order_by(col(Outcome.stored_at), col(Outcome.run_id))
        .limit(limit)
        .with_for_update()
        .cte("waiting")
    )
    statement = (
        update(Outcome)
        .where(col(Outcome.run_id).in_(select(waiting.c.run_id)), col(Outcome.responded_at).is_(None))
        .values(responded_at=now)
        .returning(*_COLUMNS)
        .execution_options(synchronize_session=False)
    )
    claimed = [ClaimedOutcome(*row) for row in session.execute(statement)]
    return sorted(claimed, key=in_order)


def in_order(outcome: ClaimedOutcome) -> tuple[datetime, datetime, str]:
    """By their due times."""
    return outcome.due_at, outcome.stored_at, outcome.run_id


def newest_answered(session: Session, claimed: Sequence[ClaimedOutcome]) -> dict[Place, datetime]:
    """The newest due time that was answered before these outcomes, for each of their places.

    Asked only where it matters: a standing that stays at pass is not written, so its own due time may be old.
    """
    earliest = min(outcome.due_at for outcome in claimed)
    statement = (
        select(col(Outcome.cluster), col(Outcome.case), _NODE, func.max(col(Outcome.due_at)))
        .join(Run, col(Run.id) == col(Outcome.run_id))
        .where(
            in_places((outcome.place for outcome in claimed), Outcome.cluster, Outcome.case, _NODE),
            col(Outcome.stored_at) >= earliest - _CLOCK_SKEW,
            col(Outcome.responded_at).is_not(None),
            col(Outcome.run_id).not_in([outcome.run_id for outcome in claimed]),
            col(Outcome.reason).not_in(NO_ANSWER),
            col(Run.parameters).is_(None),
        )
        .group_by(col(Outcome.cluster), col(Outcome.case), _NODE)
    )
    return {(cluster, case, node): due_at for cluster, case, node, due_at in session.execute(statement)}


def asked_otherwise(session: Session, claimed: Iterable[ClaimedOutcome]) -> frozenset[str]:
    """The runs among these that were given parameters by hand: they asked another question than the case does."""
    manual = [outcome.run_id for outcome in claimed if outcome.trigger == Trigger.MANUAL]
    if not manual:
        return frozenset()
    statement = select(col(Run.id)).where(col(Run.id).in_(manual), col(Run.parameters).is_not(None))
    return frozenset(session.scalars(statement))


def in_places(places: Iterable[Place], cluster: str, case: str, node: Any) -> ColumnElement[bool]:
    """Columns of cluster, case and node that are one of these places."""
    return tuple_(col(cluster), col(case), node).in_(sorted(set(places)))
