"""The time that all processes of an installation share: the database's.

Leases, claims, due times and expiries are written by one process and compared by another, whose machine's clock may
differ. So no process uses its machine's clock for them: it measures the database's when it starts and every minute.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, SQLModel, col

from kubeprobe.clock import Clock, utc_now
from kubeprobe.store.engine import Store, upsert
from kubeprobe.store.types import UTCDateTime, database_now

log = structlog.get_logger(__name__)

MEASURE_EVERY = timedelta(minutes=1)
ALLOWED_SKEW = timedelta(seconds=5)
"""By so much a machine's clock may differ from the database's before that is reported."""
SHOWN_FOR = timedelta(minutes=5)
"""After its last measurement: the process may have ended."""
LONGEST_ROUND_TRIP_S = 2.0
"""The error of a measurement is half of its round trip; one that took longer replaces no other."""


class ProcessClock(SQLModel, table=True):
    """A process whose machine's clock differs from the database's by more than ALLOWED_SKEW."""

    __tablename__ = "process_clock"

    process: str = Field(primary_key=True, max_length=200)
    """`launcher on host-1 (pid 123)`."""
    ahead_s: float
    """Negative: it is behind."""
    measured_at: datetime = Field(sa_type=UTCDateTime)
    """By the database's clock."""


def _seconds_since_boot() -> float:
    """As time.monotonic, which stands still on Linux while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class StoreClock:
    """The database's time, as a `Clock`: no call of it waits. With SQLite it is the machine's, which is the same.

    Between measurements it advances with the time since boot, so that setting the machine's clock changes nothing.
    """

    def __init__(
        self,
        store: Store,
        process: str = "",
        machine: Clock = utc_now,
        elapsed_s: Callable[[], float] = _seconds_since_boot,
    ) -> None:
        """Measure. `process`: one that goes on, such as `launcher`; `doctor` names it if its clock is wrong.

        Raises DatabaseError.
        """
        self._store = store
        self._process = f"{process} on {socket.gethostname()} (pid {os.getpid()})"[:200] if process else ""
        self._machine = machine
        self._elapsed_s = elapsed_s
        self._anchor: tuple[datetime, float] | None = None
        """A time of the database, and the `elapsed_s` of the same moment. None: it has the machine's clock."""
        self._reported = timedelta(0)
        self._next_s = 0.0
        """When to measure again, by `elapsed_s`."""
        self._measuring = threading.Lock()
        if store.engine.dialect.name != "sqlite":
            self._measure()

    def __call__(self) -> datetime:
        """The present, aware, in UTC. Measures in a thread, if the last measurement is a minute old."""
        if self._anchor is None:
            return self._machine()
        at, since_s = self._anchor  # before the thread may replace it: its moment may be after `elapsed_s`
        elapsed_s = self._elapsed_s()
        if elapsed_s >= self._next_s and self._measuring.acquire(blocking=False):
            self._start_measuring(elapsed_s)
        return at + timedelta(seconds=elapsed_s - since_s)

    def _start_measuring(self, elapsed_s: float) -> None:
        try:
            threading.Thread(target=self._measure_again, name="clock", daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            self._next_s = elapsed_s + MEASURE_EVERY.total_seconds()
            self._measuring.release()
            log.warning("database clock not measured", error=str(error))

    def _measure_again(self) -> None:
        try:
            self._measure()
        except SQLAlchemyError as error:
            log.warning("database unavailable; its clock not measured", error=str(error))
        except Exception:
            log.exception("database clock not measured")
        finally:
            self._measuring.release()

    def _measure(self) -> None:
        self._next_s = self._elapsed_s() + MEASURE_EVERY.total_seconds()
        with self._store.reading() as session:
            session.connection()  # so that the round trip has no connecting in it
            sent_s = self._elapsed_s()
            theirs = session.execute(select(database_now())).scalar_one()
            received_s, ours = self._elapsed_s(), self._machine()
        if self._anchor is not None and received_s - sent_s > LONGEST_ROUND_TRIP_S:
            return
        self._anchor = (theirs, (sent_s + received_s) / 2)
        self._report(ours - theirs - timedelta(seconds=(received_s - sent_s) / 2), theirs)

    def _report(self, ahead: timedelta, measured_at: datetime) -> None:
        """Log a difference once, and keep it in the store while there is one."""
        is_wrong, was_wrong = abs(ahead) > ALLOWED_SKEW, abs(self._reported) > ALLOWED_SKEW
        if is_wrong and abs(ahead - self._reported) > ALLOWED_SKEW:
            log.warning("clock differs from the database's", ahead_s=round(ahead.total_seconds(), 1))
        if was_wrong and not is_wrong:
            log.info("clock agrees with the database's")
        if self._process and (is_wrong or was_wrong):
            with self._store.writing() as session:
                if is_wrong:
                    row = {"ahead_s": ahead.total_seconds(), "measured_at": measured_at}
                    upsert(session, ProcessClock, [{"process": self._process, **row}])
                else:
                    session.execute(delete(ProcessClock).where(col(ProcessClock.process) == self._process))
        self._reported = ahead


def delete_old_process_clocks(store: Store, now: datetime) -> None:
    """Delete what processes that have ended reported."""
    with store.writing() as session:
        session.execute(delete(ProcessClock).where(col(ProcessClock.measured_at) < now - SHOWN_FOR))
