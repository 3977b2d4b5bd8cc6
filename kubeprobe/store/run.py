"""Runs and their outcomes: one slot, one run, one outcome (promise 1).

State moves only forward, each step a compare-and-set::

    pending -> launching -> running -> done
       ^___________|___________|          (a temporary error, an expired claim, an evicted pod: retried)
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Index, bindparam, case, func, literal, text
from sqlmodel import Field, SQLModel, col

from kubeprobe.store.node import NODE_NAME_LENGTH
from kubeprobe.store.types import JSONColumn, UTCDateTime
from kubeprobe.vocabulary import SOME_NODE, RunState, Subject


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


class Run(SQLModel, table=True):
    """One slot's execution. Refers to cluster, case and binding by name: history outlives them.

    `launch_at`: no launcher claims it earlier (its due time, or the end of a back-off).
    `wake_at`: without a pod by then, it is sent to launchers again. A claim moves it on, so a dead launcher's expires.
    `expires_at`: without an outcome by then, it is `unknown`.
    """

    __table_args__ = (
        _partial("ix_run_wake", "wake_at", where="state IN ('pending', 'launching')"),
        _partial("ix_run_expiry", "expires_at", where="state <> 'done'"),
        _partial("ix_run_open", "cluster", "state", where="state <> 'done'"),
        _partial("ix_run_open_schedule", "schedule_id", where="state <> 'done'"),
        Index("ix_run_cluster_case", "cluster", "case", "due_at"),
    )

    id: str = Field(primary_key=True, max_length=26)
    slot: str = Field(unique=True, max_length=300)
    trigger: str = Field(max_length=10)
    case: str = Field(max_length=63)
    case_commit: str | None = Field(default=None, max_length=128)
    """Of its case when it was opened, as SOURCE@COMMIT; None if the case was applied by hand."""
    cluster: str = Field(max_length=63)
    node: str | None = Field(default=None, max_length=NODE_NAME_LENGTH)
    """The node that it is about and pinned to; None: any node."""
    binding: str | None = Field(default=None, max_length=63)
    schedule_id: int | None = None
    change_id: str | None = Field(default=None, max_length=100, index=True)
    pool: str = Field(max_length=63)
    parameters: dict[str, str] | None = Field(default=None, sa_type=JSONColumn)
    """Values given by hand, for this run only."""
    state: str = Field(default=RunState.PENDING, max_length=10)
    attempt: int = 1
    """Grows when an evicted, preempted or lost pod is retried; part of the pod's name from 2 on."""
    wakes: int = 0
    held: bool = False
    """Waits because the cluster's cap on pods in flight is reached."""
    setback: str | None = Field(default=None, max_length=40)
    """The reason of the last temporary error, for the outcome if the run expires."""
    setback_message: str | None = None
    due_at: datetime = Field(sa_type=UTCDateTime)
    opened_at: datetime = Field(sa_type=UTCDateTime)
    launch_at: datetime = Field(sa_type=UTCDateTime)
    wake_at: datetime = Field(sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    launch_before: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """`expires_at` as it was when the run was opened: a setback that was resolved does not shorten its wait."""
    claimed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    claim_token: str | None = Field(default=None, max_length=26)
    """Of its last claim: a launcher records its results only for runs that it still has claimed."""
    created_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When the API server created its pod."""
    location: str | None = Field(default=None, max_length=32)
    """Where its pod is created (`PodLocation`); None before its first claim."""
    pod: str | None = Field(default=None, max_length=63)
    pod_uid: str | None = Field(default=None, max_length=36)


def is_open() -> ColumnElement[bool]:
    """A condition for runs without an outcome. A literal: SQLite uses a partial index only for its own condition."""
    return col(Run.state) != literal(RunState.DONE.value, literal_execute=True)


def awaits_pod() -> ColumnElement[bool]:
    """A condition for runs that have no pod yet; a literal like in `is_open`."""
    states = [RunState.PENDING.value, RunState.LAUNCHING.value]
    return col(Run.state).in_(bindparam(None, states, expanding=True, literal_execute=True))


def subject_of_run(cluster: str, node: str | None) -> Subject:
    """From the columns of a run that was opened to be launched: such a run is never about the nodes as a whole."""
    return Subject(cluster, node or "")


class Outcome(SQLModel, table=True):
    """A run's single, final record. Durations follow from the times; `report` is the probe's own."""

    __table_args__ = (
        _partial("ix_outcome_unanswered", "stored_at", where="responded_at IS NULL"),
        Index("ix_outcome_cluster_case", "cluster", "case", "stored_at"),
        Index("ix_outcome_stored", "stored_at"),
        Index("ix_outcome_verdict", "verdict", "run_id"),
    )

    run_id: str = Field(primary_key=True, max_length=26, foreign_key="run.id")
    case: str = Field(max_length=63)
    cluster: str = Field(max_length=63)
    trigger: str = Field(max_length=10)
    verdict: str = Field(max_length=10)
    reason: str = Field(max_length=40)
    message: str = ""
    exit_code: int | None = None
    report: dict[str, Any] | None = Field(default=None, sa_type=JSONColumn)
    node: str | None = None
    """The node that its probe ran on, or was pinned to."""
    node_level: bool = False
    """Whether it is about that node (without one: about the nodes as a whole), not about the cluster."""
    missed: int = 0
    """Slots that did not run and that this outcome counts (promise 6)."""
    due_at: datetime = Field(sa_type=UTCDateTime)
    scheduled_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    stored_at: datetime = Field(sa_type=UTCDateTime)
    responded_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


def is_unprocessed() -> ColumnElement[bool]:
    """Of outcomes that no responder has folded into a standing."""
    return col(Outcome.responded_at).is_(None)


def subject_of_outcome(cluster: str, node: str | None, *, node_level: bool) -> Subject:
    """From the columns of an outcome."""
    return Subject(cluster, (node or SOME_NODE) if node_level else "")


def outcome_node_key() -> ColumnElement[str]:
    """`Subject.node_key` from the columns of an outcome, in SQL."""
    about_nodes = col(Outcome.node_level).is_(other=True)
    return case((about_nodes, func.coalesce(col(Outcome.node), SOME_NODE)), else_="")


class RunLog(SQLModel, table=True):
    """The end of a run's log."""

    __tablename__ = "run_log"

    run_id: str = Field(primary_key=True, max_length=26, foreign_key="run.id")
    tail: str
    stored_at: datetime = Field(sa_type=UTCDateTime)
