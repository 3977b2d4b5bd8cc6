"""Recording: endings of runs become outcomes, in groups, each exactly once.

Before it: `judge`. Next: the caller deletes the pods, and wakes a responder. A compare-and-set on the run's state and
attempt decides (promise 1): a late word of an old run or attempt changes nothing (failure mode 7).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, update
from sqlmodel import Session, col

from kubeprobe.execution.judge import RETRIED, Judgement
from kubeprobe.store import Outcome, Run, insert_all, update_each
from kubeprobe.vocabulary import RunState

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ending:
    """What came of one attempt of a run. `pod` and its times are None where there never was one."""

    run_id: str
    judgement: Judgement
    attempt: int | None = None
    """None: whatever attempt it is at (a deadline passed, the cluster was removed)."""
    retries: int = 0
    pod: str | None = None
    pod_uid: str | None = None
    created_at: datetime | None = None

    def is_tried_again(self) -> bool:
        """The cluster took the pod away and attempts are left."""
        return self.attempt is not None and self.attempt <= self.retries and self.judgement.reason in RETRIED


def record(session: Session, endings: Sequence[Ending], now: datetime) -> list[str]:
    """Store the outcomes of the runs that were still open; gives the ids of those that ended here.

    Runs that are tried again go back to pending, and are not among them.
    """
    final = {e.run_id: e for e in reversed(endings) if not e.is_tried_again()}  # the first word counts
    _try_again(session, [e for e in endings if e.is_tried_again()], now)
    if not final:
        return []
    closed = session.execute(_close(list(final.values())), execution_options={"synchronize_session": False}).all()
    if closed:
        rows = [_outcome(row, final[row.id].judgement, now) for row in closed]
        insert_all(session, Outcome, rows)
    if late := final.keys() - {row.id for row in closed}:
        log.info("late: these runs had their outcome already", runs=sorted(late))
    return [row.id for row in closed]


def _close(endings: Sequence[Ending]) -> Any:
    """One statement that ends every run that is still open, and tells which these were.

    In the order of their ids: whoever else ends some of them at the same time waits, and no two for each other.
    """
    given = update_each(
        Run,
        [
            {"id": e.run_id, "attempt": e.attempt, "pod": e.pod, "pod_uid": e.pod_uid, "created_at": e.created_at}
            for e in sorted(endings, key=lambda e: e.run_id)
        ],
    )
    return (
        update(Run)
        .where(
            col(Run.id) == given.c.id,
            col(Run.attempt) == func.coalesce(given.c.attempt, col(Run.attempt)),
            col(Run.state) != RunState.DONE,
        )
        .values(
            state=RunState.DONE,
            pod=func.coalesce(col(Run.pod), given.c.pod),
            pod_uid=func.coalesce(col(Run.pod_uid), given.c.pod_uid),
            created_at=func.coalesce(col(Run.created_at), given.c.created_at),
        )
        .returning(col(Run.id), col(Run.case), col(Run.cluster), col(Run.node), col(Run.trigger), col(Run.due_at))
    )


def _outcome(run: Any, found: Judgement, now: datetime) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "case": run.case,
        "cluster": run.cluster,
        "trigger": run.trigger,
        "due_at": run.due_at,
        "verdict": found.verdict,
        "reason": found.reason,
        "message": found.message,
        "exit_code": found.exit_code,
        "report": found.report,
        "node": run.node or found.node,
        "node_level": run.node is not None,
        "scheduled_at": found.scheduled_at,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "missed": 0,
        "stored_at": now,
    }


def _try_again(session: Session, endings: Sequence[Ending], now: datetime) -> None:
    """Back to pending with a new attempt, whose pod has a new name."""
    for ending in endings:
        session.execute(
            update(Run)
            .where(col(Run.id) == ending.run_id, col(Run.attempt) == ending.attempt, col(Run.state) != RunState.DONE)
            .values(
                state=RunState.PENDING,
                attempt=col(Run.attempt) + 1,
                pod=None,
                pod_uid=None,
                wakes=0,
                wake_at=now,
                launch_at=now,
                setback=ending.judgement.reason,
                setback_message=ending.judgement.message,
            ),
            execution_options={"synchronize_session": False},
        )
