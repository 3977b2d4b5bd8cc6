"""Promises 1 to 3 on the real API server: after any kill, each slot has one run, one outcome, and no pod remains."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import col, func, select

from kubeprobe.catalog import Connector, apply, load_catalog, parse
from kubeprobe.fleet import clusters
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.queue import Queue, run_batches
from kubeprobe.settings import Settings
from kubeprobe.store import Outcome, Run, Store
from kubeprobe.trigger import RunRequest, request_runs
from kubeprobe.vocabulary import RunState, Verdict
from tests.harness.fakenode import NODE, exit_code_of
from tests.harness.installation import Installation
from tests.harness.wait import until
from tests.real.test_whole_installation import kubectl

RUNS = 200
CATALOG = """
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: scripted}
spec:
  image: docker.io/kubeprobe/pause:dev
  pod: {nodeName: fake}
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: scripted}
spec:
  template: scripted
  kind: blackbox
  description: Ends as the fake node wants it.
  severity: info
  owner: tests
  timeouts: {start: 120s, run: 120s}
"""


@pytest.fixture
def fake_node(kubeconfig: Path) -> Iterator[None]:
    """Ends pods two seconds after their creation, so that there is time to kill something."""
    command = [sys.executable, "-m", "tests.harness.fakenode", str(kubeconfig), "2.0"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    yield
    process.kill()
    process.wait()
    kubectl("delete", "node", NODE)  # otherwise it remains without a kubelet for other tests


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """Processes with short time-outs of claims and leases."""
    quick = {"KUBEPROBE_CLAIM_TIMEOUT": "PT8S", "KUBEPROBE_LEASE": "PT4S", "KUBEPROBE_RESEND_AFTER": "PT2S"}
    with Installation(tmp_path, database_url, quick) as installation:
        yield installation


@pytest.fixture
def prepared(installation: Installation, store: Store, kubeconfig: Path, tmp_path: Path) -> Settings:
    """A store with the real cluster and one case; the cluster with the namespace."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    settings = Settings(data_dir=tmp_path, database_url=installation.database_url, broker_url=installation.broker_url)
    cipher, now = Cipher.from_settings(settings), datetime.now(UTC)
    with store.writing() as session:
        spec = clusters.ClusterRegistration("real", max_in_flight=60)
        clusters.add(session, spec, from_kubeconfig(kubeconfig), cipher, now)
        apply(session, parse([tmp_path / "catalog.yaml"]), Connector(cipher, tmp_path / "none"), now)
    kubectl("create", "namespace", "kubeprobe", check=False)
    return settings


def ask_for_runs(store: Store, installation: Installation, settings: Settings, count: int) -> None:
    now = datetime.now(UTC)
    with store.writing() as session:
        catalog = load_catalog(session)
        opened = [
            run
            for number in range(count)
            for run in request_runs(session, catalog, RunRequest("scripted", ("real",), id=f"r{number}"), now, settings)
        ]
    Queue.connect(installation.broker_url).wake_launchers(run_batches(opened, settings.batch_size))


def outcomes(store: Store) -> int:
    with store.reading() as session:
        return session.exec(select(func.count()).select_from(Outcome)).one()


def in_flight(store: Store) -> int:
    with store.reading() as session:
        running = select(func.count()).select_from(Run).where(col(Run.state) == RunState.RUNNING)
        return session.exec(running).one()


def pods_left() -> list[str]:
    return kubectl(
        "-n", "kubeprobe", "get", "pods", "-l", "app.kubernetes.io/managed-by=kubeprobe", "-o", "name"
    ).split()


def assert_every_run_has_the_outcome_of_its_pod(store: Store) -> None:
    with store.reading() as session:
        runs = session.exec(select(Run)).all()
        found = {o.run_id: o for o in session.exec(select(Outcome)).all()}
    assert len(runs) == RUNS
    assert {run.state for run in runs} == {RunState.DONE}
    wrong = {
        run.id: (found[run.id].verdict, found[run.id].reason, found[run.id].message)
        for run in runs
        if found[run.id].verdict != (Verdict.FAIL if exit_code_of(run.id) else Verdict.PASS)
    }
    assert not wrong, (
        f"{len(wrong)} outcomes are not what the pods did: {Counter(w[1] for w in wrong.values())}, {wrong}"
    )


def _more_outcomes(store: Store, before: int) -> bool:
    return outcomes(store) > before or before == RUNS  # several at once may have been the last


def test_each_process_killed_and_the_broker_flushed_while_200_runs_are_under_way(
    installation: Installation, store: Store, prepared: Settings, fake_node: None
) -> None:
    installation.start_all()
    ask_for_runs(store, installation, prepared, RUNS)
    for victim in ("launcher", "collector", "responder", "beat", "valkey", "collector", "launcher"):
        before = outcomes(store)
        until("some runs under way", lambda: in_flight(store) > 0 or outcomes(store) == RUNS, within_s=60)
        installation.kill_and_restart(victim)
        if victim == "valkey":
            installation.flush_broker()
        more = partial(_more_outcomes, store, before)
        until(f"outcomes after the {victim} was killed", more, within_s=60)
    until("all outcomes", lambda: outcomes(store) == RUNS, within_s=120, instead=lambda: open_runs(store))
    assert_every_run_has_the_outcome_of_its_pod(store)
    until("no pod left", lambda: not pods_left(), within_s=120)
    until("all outcomes answered", lambda: unprocessed(store) == 0, within_s=120)


def test_two_of_every_process_do_what_one_does(
    installation: Installation, store: Store, prepared: Settings, fake_node: None
) -> None:
    installation.start_all(copies=2)
    ask_for_runs(store, installation, prepared, RUNS)
    until("all outcomes", lambda: outcomes(store) == RUNS, within_s=180, instead=lambda: open_runs(store))
    assert_every_run_has_the_outcome_of_its_pod(store)
    until("no pod left", lambda: not pods_left(), within_s=120)


def open_runs(store: Store) -> list[tuple[object, ...]]:
    """The runs without an outcome, for the failure's message."""
    columns = (Run.id, Run.state, Run.attempt, Run.wakes, Run.held, Run.claimed_at, Run.wake_at, Run.setback_message)
    with store.reading() as session:
        runs = session.exec(select(Run).where(col(Run.state) != RunState.DONE)).all()
    return [tuple(getattr(run, column.key) for column in columns) for run in runs]


def unprocessed(store: Store) -> int:
    with store.reading() as session:
        waiting = select(func.count()).select_from(Outcome).where(col(Outcome.responded_at).is_(None))
        return session.exec(waiting).one()
