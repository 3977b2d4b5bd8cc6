"""Counters of API requests, SQL statements, broker messages, CPU and memory of processes."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from sqlalchemy import text

from kubeprobe.store import Store

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_REQUEST = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_DISPATCHED = re.compile(r"^apiserver_flowcontrol_dispatched_requests_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def requests(metrics: str) -> Counter[str]:
    """API requests by verb and resource (`POST pods`, `PUT pods/status`), from an API server's /metrics."""
    counts: Counter[str] = Counter()
    for labels, value in _REQUEST.findall(metrics):
        values = dict(_LABEL.findall(labels))
        resource = "/".join(filter(None, (values["resource"], values.get("subresource"))))
        counts[f"{values['verb']} {resource}"] += int(float(value))
    return counts


def dispatched(metrics: str, flow_schema: str) -> int:
    """Requests of the users of a FlowSchema, of all verbs, from an API server's /metrics."""
    return sum(
        int(float(value))
        for labels, value in _DISPATCHED.findall(metrics)
        if dict(_LABEL.findall(labels)).get("flow_schema") == flow_schema
    )


class StatementMeter:
    """Statements that a PostgreSQL role has executed, from pg_stat_statements."""

    TRANSACTION_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK")

    def __init__(self, store: Store, role: str) -> None:
        self._engine, self._role = store.engine.execution_options(isolation_level="AUTOCOMMIT"), role
        with self._engine.connect() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_stat_statements"))

    def read(self) -> Counter[str]:
        """The number of executions of each statement, by its text."""
        query = text(
            "SELECT query, calls FROM pg_stat_statements WHERE userid = CAST(:role AS regrole)"
            " AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with self._engine.connect() as connection:
            counts: Counter[str] = Counter()
            for statement, calls in connection.execute(query, {"role": self._role}):
                counts[str(statement)] += int(calls)
            return counts


def without_transaction_control(statements: Counter[str]) -> Counter[str]:
    """Statements without BEGIN, COMMIT and ROLLBACK."""
    return Counter(
        {text: n for text, n in statements.items() if not text.upper().startswith(StatementMeter.TRANSACTION_CONTROL)}
    )


@dataclass(frozen=True)
class Broker:
    """What was sent through the broker: messages in queues, and events for monitors (Flower)."""

    messages: int
    events: int

    @classmethod
    def read(cls, port: int) -> "Broker":
        """The counts of the Valkey on this port since its start."""
        client = redis.Redis(port=port)
        stats = client.info("commandstats")
        client.close()
        calls = {name: int(values["calls"]) for name, values in stats.items()}
        return cls(calls.get("cmdstat_lpush", 0), calls.get("cmdstat_publish", 0))

    def since(self, before: "Broker") -> "Broker":
        """The counts since an earlier reading."""
        return Broker(self.messages - before.messages, self.events - before.events)


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes, including children that have ended."""
    total = 0
    for pid in pids:
        # Fields 14 to 17 are utime, stime, cutime, cstime. The name (field 2) is in parentheses and may contain spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(ticks) for ticks in fields[11:15])
    return total / TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
