"""100,000 schedule rows compared with 100: an idle tick, and issuing 10,000 that are due. No process is started.

An idle tick is beat's queries when nothing is due (`issue_due`, `resend_overdue`); ticks over few and many
rows alternate.
Issuing is measured from the first statement until all due runs are open, over as many ticks as needed.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from sqlalchemy import event
from sqlmodel import col, insert, update

from benchmarks.installation import CASE, MeasuredInstallation, installed
from benchmarks.report import Table
from kubeprobe.fleet.credentials import Connection, ConnectionKind
from kubeprobe.runs import resend_overdue
from kubeprobe.store import Schedule, Store
from kubeprobe.trigger import issue_due

NEEDS_REAL_CLUSTER = False
FEW, MANY, DUE = 100, 100_000, 10_000
TICKS = 200
CLUSTERS = 1000
CHUNK = 2000
DAY_S = 86_400


def run() -> list[Table]:
    """Measure both databases."""
    idle = Table(
        "An idle tick of beat", ["store", f"{FEW:,} rows, ms", f"{MANY:,} rows, ms", "ratio", "statements per tick"]
    )
    issued = Table(
        f"Issuing {DUE:,} due of {MANY:,}", ["store", "seconds", "runs per s", "statements", "runs per statement"]
    )
    for database in ("PostgreSQL", "SQLite"):
        with ExitStack() as stack:
            few = stack.enter_context(_scheduled(database, FEW))
            many = stack.enter_context(_scheduled(database, MANY))
            _measure_idle(idle, database, few, many)
            _measure_issuing(issued, database, many)
    idle.notes.append(f"Median of {TICKS} ticks, alternating between few and many rows.")
    return [idle, issued]


@dataclass
class Counted:
    """An installation, and the number of statements that its store has executed."""

    installation: MeasuredInstallation
    statements: int = 0

    @property
    def store(self) -> Store:
        """The installation's store."""
        return self.installation.store

    def tick(self) -> float:
        """Run one idle tick; returns its milliseconds."""
        now, began = datetime.now(UTC), time.perf_counter()
        tick = issue_due(self.store, now, self.installation.settings)
        wakes = resend_overdue(self.store, now, self.installation.settings)
        if tick.opened or wakes:
            raise RuntimeError("Expected an idle tick, but runs were due.")
        return (time.perf_counter() - began) * 1000


@contextmanager
def _scheduled(database: str, rows: int) -> Iterator[Counted]:
    """An installation with this number of schedules, all due tomorrow."""
    with installed(database) as installation:
        names = [f"c{number:04}" for number in range(CLUSTERS)]
        for name in names[: min(rows, CLUSTERS)]:
            installation.add_cluster(name, Connection(ConnectionKind.LOCAL, {"path": "none"}))
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        schedules = [
            {
                "binding": f"b{number // CLUSTERS:03}",
                "case": CASE,
                "cluster": names[number % CLUSTERS],
                "pool": "default",
                "every_s": DAY_S,
                "offset_s": float(number % DAY_S),
                "next_due": tomorrow + timedelta(seconds=number % 300),
            }
            for number in range(rows)
        ]
        with installation.store.writing() as session:
            for start in range(0, rows, CHUNK):
                session.execute(insert(Schedule), schedules[start : start + CHUNK])
        counted = Counted(installation)

        def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            counted.statements += not statement.startswith("BEGIN")  # on SQLite, BEGIN is a statement

        event.listen(installation.store.engine, "before_cursor_execute", count)
        yield counted


def _measure_idle(table: Table, database: str, few: Counted, many: Counted) -> None:
    for counted in (few, many):
        counted.tick()
    before = many.statements
    pairs = [(few.tick(), many.tick()) for _ in range(TICKS)]
    few_ms, many_ms = (median(column) for column in zip(*pairs, strict=True))
    table.add(database, few_ms, many_ms, many_ms / few_ms, (many.statements - before) / TICKS)


def _measure_issuing(table: Table, database: str, many: Counted) -> None:
    now = datetime.now(UTC)
    with many.store.writing() as session:
        session.execute(update(Schedule).where(col(Schedule.id) <= DUE).values(next_due=now))
    opened, before, began = 0, many.statements, time.perf_counter()
    while tick := issue_due(many.store, now, many.installation.settings):
        opened += len(tick.opened)
        if tick.next_due is None or tick.next_due > now:
            break
    seconds, statements = time.perf_counter() - began, many.statements - before
    if opened != DUE:
        raise RuntimeError(f"Expected {DUE} runs for the due schedules, got {opened}.")
    table.add(database, seconds, opened / seconds, statements, opened / statements)
