"""Runs per second compared with a bare client, and latencies, with 1,000 runs due in the same second.

The real API server; a fake node ends every pod as soon as it sees it (its writes cost both sides the same). Rounds
alternate: bare client, KubeProbe, bare client, KubeProbe. A round's rate is measured from the slot's instant (bare:
the first create) to the last stored outcome (bare: the last observed end of a pod). Pod times are the fake node's.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.bare import Bare, run_bare
from benchmarks.installation import CASE, MeasuredInstallation, PodTimes, fake_node, in_a_moment, installed
from benchmarks.meters import percentile
from benchmarks.report import Table
from kubeprobe.catalog import load_catalog
from kubeprobe.fleet.credentials import from_kubeconfig
from kubeprobe.store import Outcome, Run
from kubeprobe.vocabulary import Verdict
from tests.harness.installation import PROCESSES
from tests.harness.wait import until

NEEDS_REAL_CLUSTER = True
RUNS = 1000
ROUNDS = 2
DATABASES = ("PostgreSQL", "SQLite")
MAX_IN_FLIGHT = 500
WITHIN_S = 180.0

NodeTimes = Callable[[], Mapping[str, PodTimes]]


def run(kubeconfig: Path) -> list[Table]:
    """Measure both databases, each against its own bare client."""
    rates = Table(
        f"Throughput: {RUNS:,} runs due at one instant, pods end at once, at most {MAX_IN_FLIGHT} in flight",
        ["store", "bare client/s", "KubeProbe/s", "ratio", "ratio until all pods are deleted"],
    )
    times = Table(
        "Latency, milliseconds (p50 / p99)",
        ["store", "due -> pod created", "exit -> outcome stored", "outcome stored -> pod deleted"],
    )
    cpu = Table("CPU milliseconds per run", ["store", "total", *PROCESSES])
    for database in DATABASES:
        with installed(database) as installation, fake_node(kubeconfig) as node_times:
            installation.add_cluster("real", from_kubeconfig(kubeconfig), MAX_IN_FLIGHT)
            installation.start()
            Round(installation, 50, node_times)  # connections, caches, imports
            rounds = [
                (_bare_round(installation, kubeconfig), Round(installation, RUNS, node_times)) for _ in range(ROUNDS)
            ]
            _report((rates, times, cpu), database, rounds, node_times())
    return [rates, times, cpu]


class Round:
    """One round of KubeProbe: its runs, and their CPU time."""

    def __init__(self, installation: MeasuredInstallation, count: int, node_times: NodeTimes) -> None:
        self.due_at = in_a_moment()
        before = installation.cpu_s()
        installation.schedule(count, ["real"], self.due_at)
        runs = until(f"{count} outcomes", lambda: self._ended(installation, count), WITHIN_S, every_s=0.2)
        until("all outcomes processed", lambda: installation.unprocessed() == 0, WITHIN_S, every_s=0.2)
        until("all pods deleted", lambda: node_times().keys() >= {run.id for run, _ in runs}, WITHIN_S, every_s=0.2)
        self.cpu_s = {name: after - before[name] for name, after in installation.cpu_s().items()}
        self.stored = {run.id: outcome.stored_at.timestamp() for run, outcome in runs}
        if bad := [outcome for _, outcome in runs if outcome.verdict != Verdict.PASS]:
            raise RuntimeError(f"{len(bad)} of {count} runs did not pass, e.g. {bad[0].reason}: {bad[0].message}")

    def _ended(self, installation: MeasuredInstallation, count: int) -> list[tuple[Run, Outcome]] | None:
        if installation.outcomes_due(self.due_at) < count:
            return None
        return installation.runs_due(self.due_at)


def _bare_round(installation: MeasuredInstallation, kubeconfig: Path) -> Bare:
    with installation.store.reading() as session:
        catalog = load_catalog(session)
    return asyncio.run(run_bare(kubeconfig, catalog, CASE, RUNS, MAX_IN_FLIGHT))


def _report(
    tables: tuple[Table, Table, Table],
    database: str,
    rounds: Sequence[tuple[Bare, Round]],
    seen: Mapping[str, PodTimes],
) -> None:
    rates, times, cpu = tables
    bare_s = mean(bare.ended - bare.began for bare, _ in rounds)
    bare_gone_s = mean(bare.deleted - bare.began for bare, _ in rounds)
    ours_s = mean(max(r.stored.values()) - r.due_at.timestamp() for _, r in rounds)
    gone_s = mean(max(seen[i].gone for i in r.stored) - r.due_at.timestamp() for _, r in rounds)
    cpu_ms = {name: 1000 * sum(r.cpu_s[name] for _, r in rounds) / (RUNS * ROUNDS) for name in rounds[0][1].cpu_s}
    cpu.add(database, sum(cpu_ms.values()), *cpu_ms.values())
    rates.add(database, RUNS / bare_s, RUNS / ours_s, bare_s / ours_s, bare_gone_s / gone_s)
    rates.notes.append(
        f"{database}, round by round: bare "
        + ", ".join(f"{RUNS / (b.ended - b.began):.0f}/s" for b, _ in rounds)
        + "; KubeProbe "
        + ", ".join(f"{RUNS / (max(r.stored.values()) - r.due_at.timestamp()):.0f}/s" for _, r in rounds)
    )
    created = [seen[i].seen - r.due_at.timestamp() for _, r in rounds for i in r.stored]
    stored = [at - seen[i].ended for _, r in rounds for i, at in r.stored.items()]
    gone = [seen[i].gone - at for _, r in rounds for i, at in r.stored.items()]
    times.add(database, *(_p50_p99(values) for values in (created, stored, gone)))


def _p50_p99(seconds: Sequence[float]) -> str:
    return f"{1000 * percentile(seconds, 50):,.0f} / {1000 * percentile(seconds, 99):,.0f}"
