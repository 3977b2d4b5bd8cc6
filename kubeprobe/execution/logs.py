"""Stores the last log lines of a run that did not pass. No verdict waits for it (failure mode 11)."""

import asyncio
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe.clock import Clock
from kubeprobe.execution.report import without_nul
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import ClusterError, PermanentError
from kubeprobe.settings import Settings
from kubeprobe.store import RunLog, Store, insert_ignoring_conflicts

log = structlog.get_logger(__name__)

READ_WITHIN_S = 5.0
MAX_CHARS = 64_000


class LogContext(Protocol):
    """What `store_tail` needs."""

    @property
    def store(self) -> Store: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...


async def store_tail(api: ClusterApi, namespace: str, pod: str, run_id: str, context: LogContext) -> bool:
    """Read the last lines of a pod's log and store them. Errors are logged only: the pod is about to be deleted.

    Returns whether that is done; false: it may succeed later, if the pod is still there.
    """
    lines = context.settings.log_tail
    if not lines:
        return True
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            tail = await api.read_log(namespace, pod, lines)
        if tail:
            await asyncio.to_thread(_insert_tail, context, run_id, without_nul(tail[-MAX_CHARS:]))
    except (ClusterError, TimeoutError, SQLAlchemyError) as error:
        log.info("probe log not stored", pod=pod, error=str(error) or "time-out")
        return isinstance(error, PermanentError)
    return True


def _insert_tail(context: LogContext, run_id: str, tail: str) -> None:
    row = {"run_id": run_id, "tail": tail, "stored_at": context.clock()}
    with context.store.writing() as session:
        session.execute(insert_ignoring_conflicts(session, RunLog, [row]))
