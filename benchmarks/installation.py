"""KubeProbe's real processes with a database of their own, and a case whose pods a fake node ends at once."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlmodel import col, delete, func, insert, select

from benchmarks.meters import cpu_s
from kubeprobe import app
from kubeprobe.catalog import Connector, apply, parse
from kubeprobe.fleet import clusters
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.queue import REQUEST_QUEUE, Task, celery_config
from kubeprobe.settings import Settings
from kubeprobe.store import Outcome, Run, Schedule, Store, open_store
from kubeprobe.store.migrate import migrate
from tests.harness.installation import PROCESSES, Installation
from tests.harness.postgresql import postgresql_server
from tests.harness.wait import until

CASE = "scripted"
CATALOG = f"""
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {{name: {CASE}}}
spec:
  image: docker.io/kubeprobe/pause:dev
  pod: {{nodeName: fake}}
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {{name: {CASE}}}
spec:
  template: {CASE}
  kind: blackbox
  description: Ends as soon as it is created.
  severity: info
  owner: benchmarks
  timeouts: {{start: 300s, run: 300s}}
"""
ROOT = Path(__file__).parents[1]
INTERVAL = timedelta(days=1)
OBSERVER = "observer"


@dataclass(frozen=True)
class MeasuredInstallation:
    """One installation and its processes."""

    processes: Installation
    store: Store
    """For preparation and queries; on PostgreSQL with a role of its own, whose statements `meters` does not count."""
    settings: Settings

    def add_cluster(self, name: str, connection: Connection, max_in_flight: int = 30) -> None:
        """Add a cluster to probe."""
        with self.store.writing() as session:
            spec = clusters.ClusterRegistration(name, max_in_flight=max_in_flight)
            clusters.add(session, spec, connection, Cipher.from_settings(self.settings), datetime.now(UTC))

    def start(self) -> None:
        """Start the broker, beat, launcher, collector and responder."""
        self.processes.start_all()

    def schedule(self, count: int, cluster_names: Sequence[str], due_at: datetime) -> None:
        """Replace all schedules by `count` ones due at one instant, distributed over the clusters."""
        rows = [
            {
                "binding": f"b{number:05}",
                "case": CASE,
                "cluster": cluster_names[number % len(cluster_names)],
                "pool": "default",
                "every_s": int(INTERVAL.total_seconds()),
                "offset_s": due_at.timestamp() % INTERVAL.total_seconds(),
                "next_due": due_at,
            }
            for number in range(count)
        ]
        with self.store.writing() as session:
            session.execute(delete(Schedule))
            session.execute(insert(Schedule), rows)

    def shell(self) -> app.Installation:
        """The entry point of a Python shell, which requests runs; its statements count."""
        return app.Installation.open(self.settings)

    def delay(self) -> Callable[[str], object]:
        """A function that requests a run with plain Celery, `run_probe.delay(CASE, cluster)`, without a store."""
        app = Celery("client", broker=self.processes.broker_url, set_as_current=False)
        app.conf.update(celery_config(self.processes.broker_url))
        return lambda cluster: app.send_task(Task.RUN_PROBE, args=[CASE, cluster], queue=REQUEST_QUEUE)

    def outcomes(self) -> int:
        """The number of stored outcomes."""
        with self.store.reading() as session:
            return session.exec(select(func.count()).select_from(Outcome)).one()

    def unprocessed(self) -> int:
        """The number of outcomes that no responder has processed."""
        with self.store.reading() as session:
            pending = select(func.count()).select_from(Outcome).where(col(Outcome.responded_at).is_(None))
            return session.exec(pending).one()

    def wait_for(self, count: int, within_s: float = 300.0) -> None:
        """Wait until `count` outcomes are stored and processed by a responder."""
        until(f"{count} outcomes", lambda: self.outcomes() >= count, within_s, every_s=0.2)
        until("all outcomes processed", lambda: self.unprocessed() == 0, within_s=60, every_s=0.2)

    def runs_due(self, due_at: datetime) -> list[tuple[Run, Outcome]]:
        """The runs due at one instant, with their outcomes."""
        with self.store.reading() as session:
            found = select(Run, Outcome).where(Run.due_at == due_at, col(Outcome.run_id) == col(Run.id))
            return [(run, outcome) for run, outcome in session.exec(found)]

    def outcomes_due(self, due_at: datetime) -> int:
        """The number of runs due at one instant that have an outcome."""
        with self.store.reading() as session:
            return session.exec(select(func.count()).select_from(Outcome).where(Outcome.due_at == due_at)).one()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far, by process."""
        pids = self.processes.pids()
        return {name: cpu_s([pids[f"{name}.0"]]) for name in PROCESSES}


@contextmanager
def installed(database: str, environment: Mapping[str, str] | None = None) -> Iterator[MeasuredInstallation]:
    """An installation on "SQLite" or "PostgreSQL" (which syncs to disk, as in production). No process is started."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="kubeprobe-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        url = f"sqlite:///{folder / 'kubeprobe.db'}"
        if database == "PostgreSQL":
            url = _fresh_database(stack.enter_context(_postgresql()))
        store = open_store(_as_observer(url) if database == "PostgreSQL" else url)
        stack.callback(store.close)
        now = datetime.now(UTC)
        migrate(store, now)
        processes = stack.enter_context(Installation(folder, url, dict(environment or {})))
        settings = Settings(data_dir=folder, database_url=url, broker_url=processes.broker_url)
        (folder / "catalog.yaml").write_text(CATALOG)
        with store.writing() as session:
            connector = Connector(Cipher.from_settings(settings), folder / "none")
            apply(session, parse([folder / "catalog.yaml"]), connector, now)
        yield MeasuredInstallation(processes, store, settings)


@contextmanager
def fake_node(kubeconfig: Path) -> Iterator[Callable[[], dict[str, "PodTimes"]]]:
    """A node on which every pod passes at once, in a process of its own; yields a function for pod times by run id."""
    with tempfile.NamedTemporaryFile(prefix="kubeprobe-node-", suffix=".jsonl") as file:
        command = [sys.executable, "-m", "benchmarks.node", str(kubeconfig), file.name]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        until("the fake node is ready", lambda: Path(file.name).stat().st_size > 0 or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError("The fake node exited unexpectedly; its message is above.")
        try:
            yield lambda: _read_times(Path(file.name))
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class PodTimes:
    """When a node first saw a pod, ended it, and saw it deleted; Unix seconds."""

    seen: float
    ended: float
    gone: float


def in_a_moment(seconds: float = 3.0) -> datetime:
    """An instant a few seconds from now, in whole seconds as for schedules."""
    return datetime.fromtimestamp(int(time.time() + seconds), UTC)


def _read_times(path: Path) -> dict[str, PodTimes]:
    return {line["run"]: PodTimes(line["seen"], line["ended"], line["gone"]) for line in _lines(path)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        entry = orjson.loads(line)
        if "run" in entry:
            yield entry


def _postgresql() -> AbstractContextManager[str]:
    return postgresql_server(fsync="on", shared_preload_libraries="pg_stat_statements")


def _fresh_database(server: str) -> str:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE bench"))
        connection.execute(text(f"CREATE ROLE {OBSERVER} SUPERUSER LOGIN"))
    engine.dispose()
    return make_url(server).set(database="bench").render_as_string(hide_password=False)


def _as_observer(url: str) -> str:
    return make_url(url).set(username=OBSERVER).render_as_string(hide_password=False)
