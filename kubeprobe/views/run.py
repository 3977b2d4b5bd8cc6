"""One run in every detail: its cause, its times from due to stored, its outcome."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from kubeprobe.catalog.model import ProbeCaseSpec
from kubeprobe.catalog.snapshot import read_stored
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Change, Outcome, ProbeCase, Run, RunLog, subject_of_outcome
from kubeprobe.views.leftovers import LeftoverView, leftovers_of
from kubeprobe.views.runs import ID_LENGTH
from kubeprobe.vocabulary import RunState

SHOWN_MATCHES = 5


@dataclass(frozen=True)
class Stage(JsonModel):
    """A step of a run; `after_s` is the time since the step before it, None for the first."""

    name: str
    at: datetime
    after_s: float | None = None


@dataclass(frozen=True)
class RunDetails(JsonModel):
    """All that the store knows of one run."""

    id: str
    case: str
    cluster: str
    subject: str
    """In words: the cluster, or the node of it that the run is about."""
    trigger: str
    binding: str | None
    change_id: str | None
    case_commit: str | None
    """What its case came from, as SOURCE@COMMIT; None where the case was applied by hand."""
    slot: str
    why: str
    """In words: why it runs, and what it waits for where it has not ended."""
    state: str
    attempt: int
    pool: str
    parameters: dict[str, str] | None
    verdict: str | None
    reason: str | None
    message: str | None
    missed: int
    exit_code: int | None
    report: dict[str, Any] | None
    pod: str | None
    pod_uid: str | None
    node: str | None
    node_level: bool
    """Whether it is about that node, and its pod is pinned to it."""
    stages: tuple[Stage, ...]
    has_log: bool
    leftovers: tuple[LeftoverView, ...]
    """Objects that its probe left in the cluster."""
    owner: str | None
    runbook: str | None
    severity: str | None
    """The case's, as the catalog has it now; None where the case was removed."""


@dataclass(frozen=True)
class LogTail(JsonModel):
    """The kept end of a run's log."""

    run_id: str
    tail: str
    stored_at: datetime


def resolve_run_id(session: Session, given: str) -> str:
    """The id of the one run that `given` names: its id, or the beginning of it.

    Raises NotFoundError, and InvalidInputError where it is not an id or matches several.
    """
    prefix = given.lower()
    if not prefix.isalnum() or len(prefix) > ID_LENGTH:
        raise InvalidInputError(
            f"{given!r} is not a run id: up to {ID_LENGTH} letters and digits. See `kubeprobe runs`."
        )
    matching = (col(Run.id) >= prefix) & (col(Run.id) <= prefix.ljust(ID_LENGTH, "z"))
    found = session.exec(select(Run.id).where(matching).order_by(col(Run.id)).limit(SHOWN_MATCHES + 1)).all()
    if not found:
        raise NotFoundError(f"There is no run {given!r}. `kubeprobe runs` lists the newest.")
    if len(found) > 1:
        listed = ", ".join(found[:SHOWN_MATCHES]) + (", ..." if len(found) > SHOWN_MATCHES else "")
        raise InvalidInputError(f"{given!r} matches several runs: {listed}. Give more of the id.")
    return found[0]


def get_run(session: Session, given: str) -> RunDetails:
    """The run of an id or the beginning of one. Raises as `resolve_run_id`."""
    run_id = resolve_run_id(session, given)
    row = session.exec(
        select(Run, Outcome, Change, RunLog.run_id)
        .join(Outcome, col(Outcome.run_id) == col(Run.id), isouter=True)
        .join(Change, col(Change.id) == col(Run.change_id), isouter=True)
        .join(RunLog, col(RunLog.run_id) == col(Run.id), isouter=True)
        .where(col(Run.id) == run_id)
    ).one()
    # SQLModel's types know nothing of outer joins.
    run: Run = row[0]
    outcome: Outcome | None = row[1]
    change: Change | None = row[2]
    case = session.get(ProbeCase, run.case)
    node = run.node or (outcome.node if outcome else None)
    node_level = run.node is not None or (outcome is not None and outcome.node_level)
    spec = read_stored(ProbeCaseSpec, case.spec) if case else None
    return RunDetails(
        id=run.id,
        case=run.case,
        cluster=run.cluster,
        subject=str(subject_of_outcome(run.cluster, node, node_level=node_level)),
        trigger=run.trigger,
        binding=run.binding,
        change_id=run.change_id,
        case_commit=run.case_commit,
        slot=run.slot,
        why=_why(run, change),
        state=run.state,
        attempt=run.attempt,
        pool=run.pool,
        parameters=run.parameters,
        verdict=outcome.verdict if outcome else None,
        reason=outcome.reason if outcome else None,
        message=outcome.message if outcome else None,
        missed=outcome.missed if outcome else 0,
        exit_code=outcome.exit_code if outcome else None,
        report=outcome.report if outcome else None,
        pod=run.pod,
        pod_uid=run.pod_uid,
        node=node,
        node_level=node_level,
        stages=tuple(_stages(run, outcome)),
        has_log=row[3] is not None,
        leftovers=leftovers_of(session, run.id),
        owner=spec.owner if spec and spec.owner else None,
        runbook=spec.runbook if spec else None,
        severity=str(spec.severity) if spec else None,
    )


def kept_log(session: Session, run_id: str) -> LogTail | None:
    """The kept end of a run's log; None where nothing was kept."""
    row = session.get(RunLog, run_id)
    return LogTail(row.run_id, row.tail, row.stored_at) if row else None


def _stages(run: Run, outcome: Outcome | None) -> Iterator[Stage]:
    """Every step that has a time. Kubernetes reports whole seconds, so a step may seem to precede the last one: 0."""
    times = [
        ("due", run.due_at),
        ("opened", run.opened_at),
        ("claimed", run.claimed_at),
        ("pod created", run.created_at),
        ("scheduled", outcome.scheduled_at if outcome else None),
        ("started", outcome.started_at if outcome else None),
        ("finished", outcome.finished_at if outcome else None),
        ("stored", outcome.stored_at if outcome else None),
    ]
    before: datetime | None = None
    for name, at in times:
        if at is not None:
            yield Stage(name, at, max(0.0, (at - before).total_seconds()) if before else None)
            before = at


def _why(run: Run, change: Change | None) -> str:
    if run.binding is None:
        cause = "requested by hand"
    elif run.change_id is None:
        cause = f"due by binding {run.binding}"
    else:
        what = f"{change.component} {change.version}".strip() if change else run.change_id
        cause = f"binding {run.binding} runs it when {what} changes"
    return f"{cause}; {waiting}" if (waiting := _waits_for(run)) else cause


def _waits_for(run: Run) -> str:
    """What a run that is not done waits for."""
    if run.state == RunState.RUNNING:
        return "its pod exists"
    if run.state == RunState.LAUNCHING:
        return "a launcher is creating its pod"
    if run.state == RunState.DONE:
        return ""
    if run.setback:
        return f"retried after {run.setback}: {run.setback_message or 'no message'}"
    return "its cluster has reached its cap on pods" if run.held else "waits for a launcher"
