"""Opens runs: the only module that inserts Run rows, under the unique key of their slot (promise 1).

Next: the caller commits, then wakes launchers, which `claim` the runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlmodel import Session, col
from ulid import ULID

from kubeprobe import metrics
from kubeprobe.errors import InvalidInputError
from kubeprobe.runs.rows import ClosedRun, insert_outcomes
from kubeprobe.runs.verdicts import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Run, insert_ignoring_conflicts, on_commit
from kubeprobe.vocabulary import Reason, RunState, Subject, Trigger, Verdict

MAX_SLOT = 300
MAX_ID = 100
"""Characters of the id of a change or a request."""


def slot_of(*parts: str | Subject) -> str:
    """The identity of an intended run. If it is too long for its column (long names), its end is replaced by a digest.

    A subject stands for the name of its cluster and, if it is one node, the name of that.
    """
    slot = "/".join(name for part in parts for name in _names(part))
    if len(slot) <= MAX_SLOT:
        return slot
    digest = sha256(slot.encode()).hexdigest()
    return f"{slot[: MAX_SLOT - len(digest) - 1]}~{digest}"


def _names(part: str | Subject) -> tuple[str, ...]:
    if isinstance(part, str):
        return (part,)
    return (part.cluster,) if part.node is None else (part.cluster, part.node)


def check_id(given: str, whose: str) -> None:
    """Raises InvalidInputError for an id of a change or a request that cannot be stored."""
    if len(given) > MAX_ID:
        raise InvalidInputError(f"The id of {whose} has {len(given)} characters; at most {MAX_ID} are allowed.")
    if not given.isprintable():
        raise InvalidInputError(f"The id of {whose}, {given!r}, is not printable; use letters and digits.")


@dataclass(frozen=True)
class Opening:
    """One intended run. `slot` is its identity: opened twice, it is one run.

    `reason` is set for a slot that does not run: its outcome, `unknown`, is stored at once.
    """

    slot: str
    trigger: Trigger
    case: str
    subject: Subject
    """One node: it is pinned to that node. Its nodes as a whole: `reason` says why none could be chosen."""
    pool: str
    due_at: datetime
    binding: str | None = None
    schedule_id: int | None = None
    change_id: str | None = None
    case_commit: str | None = None
    parameters: dict[str, str] | None = None
    reason: Reason | None = None
    message: str = ""
    missed: int = 0


@dataclass(frozen=True)
class OpenedRun:
    """A run that was opened, or resent, for a launcher to claim."""

    id: str
    slot: str
    subject: Subject
    pool: str
    case: str

    @property
    def cluster(self) -> str:
        """Where it is launched."""
        return self.subject.cluster


def open_runs(session: Session, openings: Sequence[Opening], now: datetime, settings: Settings) -> list[OpenedRun]:
    """Insert the runs whose slot is new; returns those to launch. Two statements, more for thousands of runs."""
    rows = {o.slot: _row(o, now, settings) for o in openings}
    if not rows:
        return []
    opening = insert_ignoring_conflicts(session, Run).returning(col(Run.slot))
    inserted = set(session.connection().execute(opening, list(rows.values())).scalars())
    # By slot: duplicates among the openings are opened once.
    opened = {o.slot: o for o in openings if o.slot in inserted}.values()
    if ended := [o for o in opened if o.reason is not None]:
        insert_outcomes(session, [(_closed(o, rows[o.slot]["id"]), _judgement(o)) for o in ended], now)
    launched = [o for o in opened if o.reason is None]
    on_commit(session, lambda: metrics.record_opened([(o.trigger, o.due_at) for o in launched], now))
    return [OpenedRun(rows[o.slot]["id"], o.slot, o.subject, o.pool, o.case) for o in launched]


def _row(opening: Opening, now: datetime, settings: Settings) -> dict[str, Any]:
    return {
        "id": str(ULID.from_datetime(now)).lower(),
        "slot": opening.slot,
        "trigger": opening.trigger,
        "case": opening.case,
        "case_commit": opening.case_commit,
        "cluster": opening.subject.cluster,
        "node": opening.subject.node,
        "binding": opening.binding,
        "schedule_id": opening.schedule_id,
        "change_id": opening.change_id,
        "pool": opening.pool,
        "parameters": opening.parameters,
        "state": RunState.PENDING if opening.reason is None else RunState.DONE,
        "attempt": 1,
        "wakes": 0,
        "held": False,
        "due_at": opening.due_at,
        "opened_at": now,
        "launch_at": opening.due_at,
        "wake_at": now + settings.resend_after,
        "expires_at": now + settings.launch_within,
        "launch_before": now + settings.launch_within,
    }


def _closed(opening: Opening, run_id: str) -> ClosedRun:
    return ClosedRun(
        run_id,
        opening.case,
        opening.subject,
        opening.trigger,
        opening.due_at,
        missed=opening.missed,
    )


def _judgement(opening: Opening) -> Judgement:
    assert opening.reason is not None
    return Judgement(Verdict.UNKNOWN, opening.reason, opening.message)
