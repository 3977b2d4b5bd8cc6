"""Housekeeping: which of its tasks are due, and which worker does one.

Beat wakes a responder for each task that is due (`waking.py`); the worker claims it here, so that a message more does
no work twice.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlmodel import col, select

from kubeprobe.queue import Task
from kubeprobe.store import Housekeeping, Store, upsert_where

EVERY = {
    Task.EXPIRE: timedelta(seconds=5),
    Task.RESEND_NOTIFICATIONS: timedelta(seconds=5),
    Task.SYNC_SOURCES: timedelta(seconds=5),
    Task.REPEAT_ALERTS: timedelta(minutes=1),
    Task.FORGET: timedelta(hours=1),
}


def due_housekeeping(store: Store, now: datetime) -> Sequence[Task]:
    """The tasks that are due, until a worker claims them."""
    with store.reading() as session:
        known = dict(session.exec(select(col(Housekeeping.task), col(Housekeeping.next_due))).all())
    return [task for task in EVERY if known.get(task, now) <= now]


def claim_housekeeping(store: Store, task: Task, now: datetime) -> bool:
    """Whether a task is due; it is due again after its interval. One caller only gets True."""
    row = {"task": task.value, "next_due": now + EVERY[task]}
    with store.writing() as session:
        return upsert_where(session, Housekeeping, row, col(Housekeeping.next_due) <= now)


def continue_housekeeping(store: Store, task: Task, now: datetime) -> None:
    """A task has done a bounded part of its work: it is due for the rest."""
    with store.writing() as session:
        session.execute(update(Housekeeping).where(col(Housekeeping.task) == task).values(next_due=now))
