"""KubeProbe's real processes over a database of their own, with a case whose pods a fake node ends at once."""

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
FAR = timedelta(days=1)
OBSERVER = "observer"


@dataclass(frozen=True)
class MeasuredInstallation:
    """One installation and its processes."""

    processes: Installation
    store: Store
    """For preparing and looking; on PostgreSQL as a role of its own, whose statements `meters` leaves out."""
    settings: Settings

    def add_cluster(self, name: str, connection: Connection, max_in_flight: int = 30) -> None:
        """A cluster to probe."""
        with self.store.writing() as session:
            spec = clusters.ClusterSpec(name, max_in_flight=max_in_flight)
            clusters.add(session, spec, connection, Cipher.from_settings(self.settings), datetime.now(UTC))

    def start(self) -> None:
        """Start the broker, beat, launcher, collector and responder."""
        self.processes.start_all()

    def schedule(self, count: int, cluster_names: Sequence[str], due_at: datetime) -> None:
        """Have `count` schedules, and no other, be due at one instant, shared out among the clusters."""
        rows = [
            {
                "binding": f"b{number:05}",
                "case": CASE,
                "cluster": cluster_names[number % len(cluster_names)],
                "pool": "default",
                "every_s": int(FAR.total_seconds()),
                "offset_s": due_at.timestamp() % FAR.total_seconds(),
                "next_due": due_at,
            }
            for number in range(count)
        ]
        with self.store.writing() as session:
            session.execute(delete(Schedule))
            session.execute(insert(Schedule), rows)

    def asker(self) -> app.Installation:
        """What a Python shell asks for runs with; its statements count."""
        return app.Installation.open(self.settings)

    def delay(self) -> Callable[[str], object]:
        """Plain Celery: `run_probe.delay(CASE, cluster)`, from a process that has no store."""
        app = Celery("asker", broker=self.processes.broker_url, set_as_current=False)
        app.conf.update(celery_config(self.processes.broker_url))
        return lambda cluster: app.send_task(Task.RUN_PROBE, args=[CASE, cluster], queue=REQUEST_QUEUE)

    def outcomes(self) -> int:
        """How many are stored."""
        with self.store.reading() as session:
            return session.exec(select(func.count()).select_from(Outcome)).one()

    def count_pending_outcomes(self) -> int:
        """How many outcomes no responder has seen to."""
        with self.store.reading() as session:
            waiting = select(func.count()).select_from(Outcome).where(col(Outcome.responded_at).is_(None))
            return session.exec(waiting).one()

    def wait_for(self, count: int, within_s: float = 300.0) -> None:
        """Wait until so many outcomes are stored and answered."""
        until(f"{count} outcomes", lambda: self.outcomes() >= count, within_s, every_s=0.2)
        until("all outcomes answered", lambda: self.count_pending_outcomes() == 0, within_s=60, every_s=0.2)

    def runs_due(self, due_at: datetime) -> list[tuple[Run, Outcome]]:
        """The runs of one instant, with their outcomes."""
        with self.store.reading() as session:
            found = select(Run, Outcome).where(Run.due_at == due_at, col(Outcome.run_id) == col(Run.id))
            return [(run, outcome) for run, outcome in session.exec(found)]

    def outcomes_due(self, due_at: datetime) -> int:
        """How many runs of one instant have their outcome."""
        with self.store.reading() as session:
            return session.exec(select(func.count()).select_from(Outcome).where(Outcome.due_at == due_at)).one()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far, process by process."""
        pids = self.processes.pids()
        return {name: cpu_s([pids[f"{name}.0"]]) for name in PROCESSES}


@contextmanager
def installed(database: str, environment: Mapping[str, str] | None = None) -> Iterator[MeasuredInstallation]:
    """An installation on "SQLite" or "PostgreSQL" (which syncs to disk, as in production). Nothing runs yet."""
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
    """A node that passes every pod at once, in a process of its own; gives what it saw so far, by run id."""
    with tempfile.NamedTemporaryFile(prefix="kubeprobe-node-", suffix=".jsonl") as note:
        command = [sys.executable, "-m", "benchmarks.node", str(kubeconfig), note.name]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        until("the fake node to be ready", lambda: Path(note.name).stat().st_size > 0 or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError("The fake node ended by itself; its message is above.")
        try:
            yield lambda: _read_times(Path(note.name))
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class PodTimes:
    """When a node saw a pod, had ended it, and had let it go; Unix seconds."""

    seen: float
    ended: float
    gone: float


def in_a_moment(seconds: float = 3.0) -> datetime:
    """An instant soon enough to wait for, late enough to prepare for; whole, as schedules' are."""
    return datetime.fromtimestamp(int(time.time() + seconds), UTC)


def _read_times(path: Path) -> dict[str, PodTimes]:
    return {told["run"]: PodTimes(told["seen"], told["ended"], told["gone"]) for told in _lines(path)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        told = orjson.loads(line)
        if "run" in told:
            yield told


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
