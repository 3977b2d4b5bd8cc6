"""SQL statements and broker messages per run, end to end, over all processes.

PostgreSQL counts its own statements (pg_stat_statements); BEGIN, COMMIT and ROLLBACK are counted separately. Messages
are the broker's LPUSH calls; PUBLISH calls are events for monitors (Flower). The cost of an idle period of the same
length is subtracted: beat's ticks, leases, housekeeping. The real API server, and a fake node that ends pods at once.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.installation import CASE, MeasuredInstallation, fake_node, in_a_moment, installed
from benchmarks.meters import Broker, StatementMeter, without_transaction_control
from benchmarks.report import Table
from kubeprobe.app import request_runs
from kubeprobe.fleet.credentials import from_kubeconfig
from kubeprobe.trigger import RunRequest

NEEDS_REAL_CLUSTER = True
RUNS = 1000
SINGLE_RUNS = 20
IDLE_S = 30.0
BETWEEN_S = 1.5
MOST = 25
WIDTH = 110


def run(kubeconfig: Path) -> list[Table]:
    """Measure single manual runs, and many runs due at once."""
    with installed("PostgreSQL") as installation, fake_node(kubeconfig):
        installation.add_cluster("real", from_kubeconfig(kubeconfig), max_in_flight=500)
        installation.start()
        installation.schedule(50, ["real"], in_a_moment())
        installation.wait_for(50)  # imports, connections, catalogs
        counters = Counters(installation)
        idle = counters.during(lambda: time.sleep(IDLE_S))
        shell, delay = installation.shell(), installation.delay()
        request = RunRequest(CASE, ("real",))
        from_shell = counters.during(lambda: _one_by_one(lambda: request_runs(shell, request))).without(idle)
        by_celery = counters.during(lambda: _one_by_one(lambda: delay("real"))).without(idle)
        many = counters.during(lambda: _all_at_once(installation)).without(idle)
    table = Table(
        "Statements and messages per run, end to end",
        ["what", "statements", "allowed", "BEGIN, COMMIT", "messages", "allowed", "events"],
    )
    _add(table, "manual run, `kubeprobe.run(...)`", from_shell, SINGLE_RUNS, ("10", "3"))
    _add(table, "manual run, `run_probe.delay(...)`", by_celery, SINGLE_RUNS, ("10", "3"))
    _add(table, f"one of {RUNS:,} due at once", many, RUNS, ("1", "0.2"))
    _add(table, "idle, per second", idle, idle.seconds)
    return [table, _by_statement({"shell": from_shell, "delay": by_celery, "due at once": many})]


@dataclass(frozen=True)
class Count:
    """The counts of a period of time."""

    seconds: float
    statements: Counter[str]
    messages: float
    events: float

    def without(self, idle: "Count") -> "Count":
        """Subtract the counts of an idle installation in the same time."""
        part = self.seconds / idle.seconds
        left = Counter({text: round(n - part * idle.statements[text]) for text, n in self.statements.items()})
        return Count(
            self.seconds,
            Counter({text: n for text, n in left.items() if n > 0}),
            self.messages - part * idle.messages,
            self.events - part * idle.events,
        )

    @property
    def work(self) -> int:
        """The number of statements that read or write."""
        return without_transaction_control(self.statements).total()

    @property
    def transaction_control(self) -> int:
        """The number of statements that begin or end a transaction."""
        return self.statements.total() - self.work


class Counters:
    """Reads all counters before and after an action."""

    def __init__(self, installation: MeasuredInstallation) -> None:
        role = make_url(installation.settings.database_url).username
        self._meter = StatementMeter(installation.store, str(role))
        self._port = installation.processes.broker_port

    def during(self, action: Callable[[], object]) -> Count:
        """The counts of all processes while `action` runs."""
        statements, broker, began = self._meter.read(), Broker.read(self._port), time.monotonic()
        action()
        seconds = time.monotonic() - began
        sent = Broker.read(self._port).since(broker)
        return Count(seconds, self._meter.read() - statements, sent.messages, sent.events)


def _one_by_one(request: Callable[[], object]) -> None:
    for _ in range(SINGLE_RUNS):
        request()
        time.sleep(BETWEEN_S)


def _all_at_once(installation: MeasuredInstallation) -> None:
    """Schedule RUNS runs and wait for them, as a role whose statements are not counted."""
    before = installation.outcomes()
    installation.schedule(RUNS, ["real"], in_a_moment())
    installation.wait_for(before + RUNS)
    time.sleep(BETWEEN_S)


def _add(table: Table, what: str, count: Count, by: float, allowed: tuple[str, str] = ("", "")) -> None:
    table.add(
        what,
        count.work / by,
        allowed[0],
        count.transaction_control / by,
        count.messages / by,
        allowed[1],
        count.events / by,
    )


def _by_statement(counts: Mapping[str, Count]) -> Table:
    table = Table("Executions by statement", ["statement", *counts])
    each = {name: without_transaction_control(count.statements) for name, count in counts.items()}
    for text, _ in sum(each.values(), Counter[str]()).most_common(MOST):
        table.add(" ".join(text.split())[:WIDTH], *(count[text] for count in each.values()))
    return table
