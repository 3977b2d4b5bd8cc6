"""An environment of launcher and collectors in this process, with a store and a local cluster in threads."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from sqlalchemy import update
from sqlmodel import col, select
from ulid import ULID

from kubeprobe import vocabulary
from kubeprobe.catalog import CatalogCache
from kubeprobe.clock import Clock, utc_now
from kubeprobe.effects import Effects
from kubeprobe.execution.collect import Collector, CollectorContext
from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet.api import ClusterApi, ClusterClients, pods_path
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.localcluster import LocalCluster
from kubeprobe.localcluster import LocalClusterSettings as ClusterSettings
from kubeprobe.queue import Queue, RunBatch, run_batches
from kubeprobe.runs import Ending, Judgement, close, resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import CatalogVersion, Cluster, Installation, Outcome, ProbeCase, ProbeTemplate, Run, RunLog, Store
from kubeprobe.store.migrate import installation_id
from kubeprobe.trigger import RunRequest, request_runs
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until

NAMESPACE = "kubeprobe"
SHELL = ["sh", "-c", 'eval "$SCRIPT"']
PASS = """echo '{"ok": true}' > $KUBEPROBE_REPORT_FILE"""
FAIL = """echo 'the log of a failure'; echo '{"ok": false, "errors": ["no"]}' > $KUBEPROBE_REPORT_FILE; exit 1"""
GIVE_UP = """echo '{"unknown": "no right"}' > $KUBEPROBE_REPORT_FILE; exit 2"""
TEMPLATES: dict[str, dict[str, Any]] = {
    "shell": {"image": "docker.io/kubeprobe/busybox:dev", "command": SHELL},
    "small": {
        "image": "docker.io/kubeprobe/busybox:dev",
        "command": SHELL,
        "resources": {"limits": {"memory": "30Mi"}},
    },
    "no-image": {"image": "docker.io/kubeprobe/nothing:1"},
    "throttled": {"image": "docker.io/kubeprobe/throttled:1"},
}
CASES: dict[str, dict[str, Any]] = {
    "shell": {"template": "shell"},
    "impatient": {"template": "shell", "timeouts": {"start": "60s", "run": "1s"}},
    "small": {"template": "small"},
    "no-image": {"template": "no-image"},
    "throttled": {"template": "throttled", "timeouts": {"start": "6s", "run": "60s"}},
    "retried": {"template": "shell", "retries": 2},
}


class LocalThread:
    """A local cluster in a separate thread."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._loop = LoopThread()
        self._stopped = False
        self.cluster = LocalCluster(settings)
        self._loop.run(self.cluster.start())

    def compact(self) -> None:
        """Drop its history: every watch from an older version gets 410."""
        self._run(self.cluster.compact)

    def stop(self) -> None:
        """Stop it. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._loop.run(self.cluster.stop())
            self._loop.close()

    def _run(self, act: Callable[[], None]) -> None:
        async def in_its_thread() -> None:
            act()

        self._loop.run(in_its_thread())


class Launching(Queue):
    """A queue that runs launchers in threads and records other wakes."""

    def __init__(self, launch: Callable[[str, Sequence[str]], Effects]) -> None:
        super().__init__(Celery(set_as_current=False))
        self._launch = launch
        self._threads = ThreadPoolExecutor(4)
        self._launches: list[Future[Effects]] = []
        self.responders_woken = 0

    def wake_launchers(self, wakes: Sequence[RunBatch]) -> bool:
        self._launches += [self._threads.submit(self._launch, wake.cluster, wake.run_ids) for wake in wakes]
        return True

    def wake_responder(self) -> bool:
        self.responders_woken += 1
        return True

    def close(self) -> None:
        """Wait for running launchers, and raise their errors."""
        self._threads.shutdown()
        for launch in self._launches:
            launch.result()


class RunningCollector:
    """A collector with its own thread, loop and connections."""

    def __init__(self, name: str, env: "Environment", clock: Clock = utc_now) -> None:
        self._context = CollectorContext(
            env.store, ClusterClients(env.cipher, clock), env.queue, env.settings, env.installation, clock
        )
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(Collector(name, self._context).run())
        self._thread = threading.Thread(target=self._run, name=f"collector {name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Shut it down, and raise its error."""
        with suppress(RuntimeError):  # it died, and its loop with it
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the collector does not end"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in `stop`
            self._error = error
        finally:
            self._loop.close()


class Environment:
    """Starts runs and collectors, and waits for their results."""

    def __init__(self, store: Store, local: LocalThread, data_dir: Path, **cluster: Any) -> None:
        self.store = store
        self.local = local
        self.settings = Settings.model_validate({"data_dir": data_dir, "lease": 1.0})
        self.cipher = Cipher.from_settings(self.settings)
        self._collectors: dict[str, RunningCollector] = {}
        self._gate = Path("/var/tmp") / f"kubeprobe-gate-{ULID()}"  # /tmp is a volume of each pod's own
        self._fill_store(cluster)
        self._row = self._cluster()
        self.installation = installation_id(store)
        self.launcher = Launcher(
            store, CatalogCache(), ClusterClients(self.cipher), LoopThread(), self.settings, self.installation, utc_now
        )
        self.queue = Launching(self.launcher.launch)

    def collect(self, name: str = "one", clock: Clock = utc_now) -> None:
        """Start a collector and wait until it has leased the cluster, or shares it."""
        self._collectors[name] = RunningCollector(name, self, clock)
        until("a collector that holds the cluster", lambda: self._cluster().collector)

    def stop_collecting(self, name: str = "one") -> None:
        """Shut a collector down."""
        self._collectors.pop(name).stop()

    def open(self, script: str = PASS, case: str = "shell", cluster: str = "local", node: str | None = None) -> str:
        """Request a run of a case whose probe is this script, on any node or on this one."""
        request = RunRequest(case, (cluster,), parameters={"SCRIPT": script}, nodes=(node,) if node else ())
        with self.store.writing() as session:
            catalog = self.launcher.catalogs.current(session)
            [opened] = request_runs(session, catalog, request, utc_now(), self.settings)
        return opened.id

    def start(self, script: str = PASS, case: str = "shell", node: str | None = None) -> str:
        """Request a run and launch it; it has its pod when this returns."""
        run_id = self.open(script, case, node=node)
        self.launcher.launch("local", [run_id])
        return run_id

    def wake(self, run_ids: Sequence[str]) -> None:
        """Wake launchers for these runs, in batches."""
        with self.store.reading() as session:
            runs = session.exec(select(Run).where(col(Run.id).in_(run_ids))).all()
        self.queue.wake_launchers(run_batches(runs, self.settings.batch_size))

    def end(self, run_id: str, reason: Reason) -> None:
        """Close a run while its pod runs."""
        with self.store.writing() as session:
            close(session, [Ending(run_id, Judgement(Verdict.UNKNOWN, reason))], utc_now())

    def create(self, labels: dict[str, str], script: str) -> dict[str, Any]:
        """Create another pod."""
        container = {"name": "probe", "image": "docker.io/kubeprobe/busybox:dev", "command": ["sh", "-c", script]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "stranger-", "labels": labels},
            "spec": {"containers": [container], "restartPolicy": "Never"},
        }
        made: dict[str, Any] = self.ask(lambda api: api.create_pod(NAMESPACE, pod))
        return made

    @property
    def at_the_gate(self) -> str:
        """The beginning of a script that waits until the gate is open."""
        return f"until [ -e {self._gate} ]; do sleep 0.05; done; "

    def open_the_gate(self) -> None:
        """Let waiting probes continue."""
        self._gate.touch()

    def resend(self) -> None:
        """Send due wakes, as beat does once a second."""
        waiting = resend_overdue(self.store, utc_now(), self.settings)
        self.queue.wake_launchers(run_batches(waiting, self.settings.batch_size))

    def outcome(self, run_id: str, within_s: float = 30) -> Outcome:
        """Wait for a run's outcome."""
        found: Outcome = until(f"the outcome of run {run_id}", lambda: self.find(Outcome, run_id), within_s)
        return found

    def verdicts(self) -> dict[str, str]:
        """The reason of every outcome by its run."""
        with self.store.reading() as session:
            return dict(session.exec(select(col(Outcome.run_id), col(Outcome.reason))).all())

    def find(self, table: type[Any], key: str) -> Any:
        """A row, or None."""
        with self.store.reading() as session:
            return session.get(table, key)

    def run(self, run_id: str) -> Run:
        """The current row of a run."""
        found: Run = self.find(Run, run_id)
        return found

    def log(self, run_id: str) -> str:
        """Wait for the stored tail of a run's log."""
        found: RunLog = until(f"the log of run {run_id}", lambda: self.find(RunLog, run_id))
        return found.tail

    def pods(self, **labels: str) -> list[dict[str, Any]]:
        """The pods of this installation, or with these labels."""
        selector = (
            ",".join(f"{k}={v}" for k, v in labels.items()) or f"{vocabulary.LABEL_INSTALLATION}={self.installation}"
        )
        items, _ = self.ask(lambda api: api.list_objects(pods_path(NAMESPACE), selector))
        found: list[dict[str, Any]] = items
        return found

    def wait_until_running(self, run_id: str) -> dict[str, Any]:
        """Wait until the probe of a run runs; its pod."""

        def running() -> dict[str, Any] | None:
            pods = [pod for pod in self.pods() if pod["metadata"]["labels"][vocabulary.LABEL_RUN] == run_id]
            return pods[0] if pods and pods[0]["status"].get("phase") == "Running" else None

        return until(f"run {run_id} to run", running)

    def wait_until_ended(self, *run_ids: str) -> None:
        """Wait until the pods of these runs have ended."""

        def ended() -> bool:
            phases = {
                pod["metadata"]["labels"][vocabulary.LABEL_RUN]: pod["status"].get("phase") for pod in self.pods()
            }
            return all(phases.get(run_id) in {"Succeeded", "Failed"} for run_id in run_ids)

        until(f"the pods of {len(run_ids)} runs to end", ended)

    def wait_until_no_pod_is_left(self) -> None:
        """Wait until the cluster has no pod of this installation."""
        until("no pod left", lambda: not self.pods(), instead=self.pods)

    def ask(self, what: Callable[[ClusterApi], Any]) -> Any:
        """Send a request to the cluster."""

        async def call() -> Any:
            return await what(await self.launcher.clients.get(self._row))

        return self.launcher.loop.run(call())

    def delete(self, pod: dict[str, Any], grace_s: int | None = None) -> None:
        """Delete a pod."""
        metadata = pod["metadata"]
        self.ask(lambda api: api.delete_pod(NAMESPACE, metadata["name"], metadata["uid"], grace_s))

    def set_status(self, pod: dict[str, Any], **status: Any) -> None:
        """Set a pod's status, as a kubelet does."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/status"
        body = {**pod, "status": {**pod["status"], **status}}
        body["metadata"] = {k: v for k, v in pod["metadata"].items() if k != "resourceVersion"}
        self.ask(lambda api: api.call("PUT", path, body=body))

    def close(self) -> None:
        """Shut everything down."""
        for name in list(self._collectors):
            self.stop_collecting(name)
        self.queue.close()
        self._gate.unlink(missing_ok=True)
        self.launcher.loop.run(self.launcher.clients.close())
        self.launcher.loop.close()

    def _cluster(self) -> Cluster:
        with self.store.reading() as session:
            return session.get_one(Cluster, "local")

    def _fill_store(self, cluster: dict[str, Any]) -> None:
        now = utc_now()
        context = cluster.pop("context", None)
        sealed = self.cipher.seal(from_kubeconfig(self.local.cluster.kubeconfig, context))
        common: dict[str, Any] = {"digest": "", "applied_at": now}
        with self.store.writing() as session:
            session.add(
                Cluster(name="local", connection_kind="kubeconfig", connection=sealed, created_at=now, **cluster)
            )
            session.add_all(ProbeTemplate(name=name, spec=spec, **common) for name, spec in TEMPLATES.items())
            cases = {name: {"kind": "blackbox", **spec} for name, spec in CASES.items()}
            session.add_all(ProbeCase(name=name, spec=spec, **common) for name, spec in cases.items())
            session.execute(update(CatalogVersion).values(version=1))
            # Test databases are copies: without an id of its own, each would take the other's pods for its own.
            session.execute(update(Installation).values(id=str(ULID()).lower()))
