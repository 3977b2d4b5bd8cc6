"""One collector that watches 1,000 simulated clusters: start time, memory and CPU, and runs in all clusters.

The clusters are served by one local cluster process, each with its own API at one address (no TLS). All are watched
once the collector has as many connections to that address as there are clusters. Idle CPU is measured while no run is
due; runs: one in each cluster, all due at one instant, pods end at once.
"""

import time
from pathlib import Path

from benchmarks.installation import MeasuredInstallation, in_a_moment, installed
from benchmarks.meters import cpu_s, memory_mb, percentile
from benchmarks.report import Table
from benchmarks.requests import local_cluster
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.store import Cluster
from tests.harness.wait import until

NEEDS_REAL_CLUSTER = False
CLUSTERS = 1000
IDLE_S = 30.0
ROUNDS = 2


def run() -> list[Table]:
    """Start everything with all clusters in the store, as after a restart."""
    with installed("PostgreSQL") as installation, local_cluster(CLUSTERS) as kubeconfig:
        names = _add_clusters(installation, kubeconfig)
        began = time.monotonic()
        installation.start()
        pid = installation.processes.pids()["collector.0"]
        until("all clusters watched", lambda: connections(pid) >= CLUSTERS, within_s=180, every_s=0.2)
        watched_s = time.monotonic() - began
        memory = memory_mb(pid)
        idle_percent = _idle(pid)
        rounds = [_round(installation, names) for _ in range(ROUNDS)]
        table = Table(f"One collector, {CLUSTERS:,} clusters", ["what", "measured", "target"])
        table.add("from start until all are watched, s", watched_s, "")
        table.add("memory, all watched, MB", memory, "500")
        table.add(f"memory after {ROUNDS} runs in each, MB", memory_mb(pid), "500")
        table.add("CPU while idle, percent of a core", idle_percent, "")
        best = max(rounds, key=lambda found: found[0])
        table.add("runs per s, one due in each at one instant", best[0], "")
        table.add("due -> stored p50 / p99, s", f"{best[1]:.1f} / {best[2]:.1f}", "")
        table.notes.append("Runs, round by round: " + ", ".join(f"{found[0]:.0f}/s" for found in rounds))
    return [table]


def connections(pid: int) -> int:
    """The number of sockets that a process holds open."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(descriptor.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def _add_clusters(installation: MeasuredInstallation, kubeconfig: Path) -> list[str]:
    cipher, names = Cipher.from_settings(installation.settings), [f"c{n:04}" for n in range(1, CLUSTERS + 1)]
    now = in_a_moment(0)
    with installation.store.writing() as session:
        session.add_all(
            Cluster(
                name=name,
                connection_kind="kubeconfig",
                connection=cipher.seal(from_kubeconfig(kubeconfig, name)),
                created_at=now,
            )
            for name in names
        )
    return names


def _idle(pid: int) -> float:
    time.sleep(5)
    before = cpu_s([pid])
    time.sleep(IDLE_S)
    return 100 * (cpu_s([pid]) - before) / IDLE_S


def _round(installation: MeasuredInstallation, names: list[str]) -> tuple[float, float, float]:
    due_at = in_a_moment()
    installation.schedule(len(names), names, due_at)
    until("all outcomes", lambda: installation.outcomes_due(due_at) >= len(names), within_s=180, every_s=0.2)
    took = [(outcome.stored_at - due_at).total_seconds() for _, outcome in installation.runs_due(due_at)]
    return len(names) / max(took), percentile(took, 50), percentile(took, 99)
