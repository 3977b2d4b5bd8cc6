"""Housekeeping: which of its tasks are due, and which worker does one.

Beat wakes a responder for each task that is due (`waking.py`); the worker claims it here, so that a message more does
no work twice.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import update
from sqlmodel import col, select

from kubeprobe import metrics
from kubeprobe.queue import Task
from kubeprobe.store import Housekeeping, Store, upsert_where
from kubeprobe.store.invalid import replace_invalid_times

log = structlog.get_logger(__name__)

EVERY = {
    Task.EXPIRE: timedelta(seconds=5),
    Task.RESEND_NOTIFICATIONS: timedelta(seconds=5),
    Task.SYNC_SOURCES: timedelta(seconds=5),
    Task.REPEAT_ALERTS: timedelta(minutes=1),
    Task.FORGET: timedelta(hours=1),
}


def due_housekeeping(store: Store, now: datetime) -> Sequence[Task]:
    """The tasks that are due, until a worker claims them."""
    try:
        known = _next_dues(store)
    except ValueError:  # of a time that SQLite stores and nobody can read
        with store.writing() as session:
            for task in replace_invalid_times(session, Housekeeping, now):
                metrics.record_set_aside("housekeeping")
                log.error("invalid time replaced", task=task)
        known = _next_dues(store)
    return [task for task in EVERY if known.get(task, now) <= now]


def _next_dues(store: Store) -> dict[str, datetime]:
    with store.reading() as session:
        return dict(session.exec(select(col(Housekeeping.task), col(Housekeeping.next_due))).all())


def claim_housekeeping(store: Store, task: Task, now: datetime) -> bool:
    """Whether a task is due; it is due again after its interval. One caller only gets True."""
    row = {"task": task.value, "next_due": now + EVERY[task]}
    with store.writing() as session:
        return upsert_where(session, Housekeeping, row, col(Housekeeping.next_due) <= now)


def continue_housekeeping(store: Store, task: Task, now: datetime) -> None:
    """A task has done a bounded part of its work: it is due for the rest."""
    with store.writing() as session:
        session.execute(update(Housekeeping).where(col(Housekeeping.task) == task).values(next_due=now))
