"""Runs with their outcomes: lists, outcomes stored since a time, and some runs by id."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import computed_field
from sqlalchemy import Select, func, select
from sqlmodel import Session, col
from ulid import ULID

from kubeprobe.errors import InvalidInputError
from kubeprobe.jsonmodel import JsonModel, Page
from kubeprobe.store import Outcome, Run, subject_of_outcome

ID_LENGTH = 26
LOOKUP = 5000
"""Ids in one statement: below what databases take as parameters."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs: every condition that is given must hold."""

    case: str | None = None
    cluster: str | None = None
    node: str | None = None
    """Where they ran, or were to run."""
    verdict: str | None = None
    trigger: str | None = None
    binding: str | None = None
    change: str | None = None
    since: datetime | None = None
    """When they were opened."""


@dataclass(frozen=True, repr=False)
class RunView(JsonModel):
    """A run in one line. Without an outcome yet, `verdict` and `reason` are None."""

    id: str
    case: str
    cluster: str
    node: str | None
    """Where it runs or ran; None: not known yet."""
    node_level: bool
    """Whether it is about that node and pinned to it (without one: none could be chosen)."""
    trigger: str
    binding: str | None
    change_id: str | None
    case_commit: str | None
    """What its case came from, as SOURCE@COMMIT; None where the case was applied by hand."""
    state: str
    attempt: int
    held: bool
    setback: str | None
    due_at: datetime
    opened_at: datetime
    verdict: str | None
    reason: str | None
    message: str | None
    missed: int | None
    report: dict[str, Any] | None
    started_at: datetime | None
    finished_at: datetime | None
    stored_at: datetime | None

    def __repr__(self) -> str:
        return f"<{self.verdict or self.state}: {self.case} on {self.subject}, run {self.id}>"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def subject(self) -> str:
        """What it is about, in words: a cluster, or a node of it."""
        return str(subject_of_outcome(self.cluster, self.node, node_level=self.node_level))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ran_for(self) -> timedelta | None:
        """From the start to the end of the probe's container; Kubernetes reports whole seconds."""
        return self.finished_at - self.started_at if self.finished_at and self.started_at else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def errors(self) -> list[str]:
        """What the probe reported as wrong."""
        return [str(error) for error in (self.report or {}).get("errors") or ()]

    @property
    def summary(self) -> str:
        """The first thing to read about its end."""
        return self.errors[0] if self.errors else self.message or ""


_NODE = func.coalesce(col(Run.node), col(Outcome.node))
_COLUMNS = (
    Run.id,
    Run.case,
    Run.cluster,
    _NODE,
    func.coalesce(col(Outcome.node_level), col(Run.node).is_not(None)),
    Run.trigger,
    Run.binding,
    Run.change_id,
    Run.case_commit,
    Run.state,
    Run.attempt,
    Run.held,
    Run.setback,
    Run.due_at,
    Run.opened_at,
    Outcome.verdict,
    Outcome.reason,
    Outcome.message,
    Outcome.missed,
    Outcome.report,
    Outcome.started_at,
    Outcome.finished_at,
    Outcome.stored_at,
)


def list_runs(session: Session, wanted: RunFilter, limit: int = 20, after: str | None = None) -> Page[RunView]:
    """Runs, the newest first. Run ids begin with their time, so the primary key gives the order.

    `after`: the `next` of the page before; InvalidInputError where it is not one.
    """
    chosen, key = _matching(wanted), _id_of(wanted)
    if after is not None:
        if len(after) != ID_LENGTH or not after.isalnum():
            raise InvalidInputError(f"{after!r} is not a cursor of runs: pass on `next` of the page before")
        chosen = chosen.where(key < after)
    found = _read(session, chosen.order_by(key.desc()).limit(limit + 1))
    return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def run_ids_of_change(session: Session, change_id: str) -> tuple[str, ...]:
    """The runs that a change opened, in the order of their ids."""
    return tuple(session.scalars(select(col(Run.id)).where(col(Run.change_id) == change_id).order_by(col(Run.id))))


def outcomes_since(session: Session, wanted: RunFilter, stored_since: datetime, limit: int = 1000) -> list[RunView]:
    """Runs whose outcome was stored at `stored_since` or later, in the order of storing."""
    stored = col(Outcome.stored_at)
    return _read(
        session, _matching(wanted).where(stored >= stored_since).order_by(stored, col(Outcome.run_id)).limit(limit)
    )


def runs_by_id(session: Session, run_ids: Sequence[str]) -> list[RunView]:
    """These runs as they stand, by cluster."""
    parts = (run_ids[start : start + LOOKUP] for start in range(0, len(run_ids), LOOKUP))
    found = [run for part in parts for run in _read(session, _all().where(col(Run.id).in_(part)))]
    return sorted(found, key=by_subject)


def by_subject(run: RunView) -> tuple[str, str, str, str]:
    """The order in which runs that were requested together are listed."""
    return run.cluster, run.node or "", run.case, run.id


def _all() -> Select[Any]:
    return select(*_COLUMNS).select_from(Run).join(Outcome, col(Outcome.run_id) == col(Run.id), isouter=True)  # type: ignore[call-overload,no-any-return]


def _matching(wanted: RunFilter) -> Select[Any]:
    conditions = {
        col(Run.case): wanted.case,
        col(Run.cluster): wanted.cluster,
        _NODE: wanted.node,
        col(Run.trigger): wanted.trigger,
        col(Run.binding): wanted.binding,
        col(Run.change_id): wanted.change,
        col(Outcome.verdict): wanted.verdict,
    }
    chosen = _all().where(*(column == value for column, value in conditions.items() if value is not None))
    if wanted.since is not None:
        chosen = chosen.where(_id_of(wanted) >= _first_id_of(wanted.since))
    return chosen


def _id_of(wanted: RunFilter) -> Any:
    """The column by which runs are ordered: for a verdict that of `ix_outcome_verdict`, or all runs would be read."""
    return col(Run.id) if wanted.verdict is None else col(Outcome.run_id)


def _first_id_of(moment: datetime) -> str:
    """The smallest run id of an instant."""
    return str(ULID.from_datetime(moment)).lower()[:10].ljust(ID_LENGTH, "0")


def _read(session: Session, chosen: Select[Any]) -> list[RunView]:
    return [RunView(*row) for row in session.execute(chosen)]
