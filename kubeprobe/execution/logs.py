"""Logs of probes: the tail that is kept of a run that did not pass. No verdict ever waits for it (failure mode 11)."""

import asyncio
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe.clock import Clock
from kubeprobe.execution.report import storable
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.settings import Settings
from kubeprobe.store import RunLog, Store, insert_ignoring_conflicts

log = structlog.get_logger(__name__)

READ_WITHIN_S = 5.0
MAX_CHARS = 64_000


class LogContext(Protocol):
    """What keeping a log needs."""

    @property
    def store(self) -> Store: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...


async def keep_tail(api: ClusterApi, namespace: str, pod: str, run_id: str, context: LogContext) -> None:
    """Read the last lines of a pod's log and store them; gives up quickly, for the pod is about to be deleted."""
    lines = context.settings.log_tail
    if not lines:
        return
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            tail = await api.read_log(namespace, pod, lines)
        if tail:
            await asyncio.to_thread(_store_tail, context, run_id, storable(tail[-MAX_CHARS:]))
    except (ClusterError, TimeoutError, SQLAlchemyError) as error:
        log.info("no log kept", pod=pod, error=str(error) or "reading it took too long")


def _store_tail(context: LogContext, run_id: str, tail: str) -> None:
    row = {"run_id": run_id, "tail": tail, "stored_at": context.clock()}
    with context.store.writing() as session:
        session.execute(insert_ignoring_conflicts(session, RunLog, [row]))
