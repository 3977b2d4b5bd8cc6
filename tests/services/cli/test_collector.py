"""`kubeprobe collector`: its heartbeat and its orderly shutdown."""

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from sqlmodel import select

from kubeprobe.store import Cluster, Collector, Store
from tests.harness.wait import until
from tests.services.cli.conftest import CommandLine

KUBEPROBE = str(Path(sys.executable).parent / "kubeprobe")


def collectors(store: Store) -> list[str]:
    with store.reading() as session:
        return list(session.exec(select(Collector.name)).all())


def lease(store: Store) -> tuple[str | None, datetime | None]:
    with store.reading() as session:
        cluster = session.get_one(Cluster, "prod-1")
        collector = session.get(Collector, cluster.collector) if cluster.collector else None
        return cluster.collector, collector and collector.leased_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_terminated_collector_releases_its_clusters(ready: CommandLine, store: Store, number: signal.Signals) -> None:
    with subprocess.Popen([KUBEPROBE, "collector"], env=dict(os.environ), stderr=subprocess.PIPE, text=True) as process:
        try:
            names = until("the collector's row", lambda: collectors(store), within_s=120)
            assert names[0].endswith(f"-{process.pid}")
            until("its lease", lambda: lease(store)[0] == names[0])
            process.send_signal(number)
            _, stderr = process.communicate(timeout=120)
        finally:
            process.kill()  # a failing test would wait for it for ever otherwise
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert (collectors(store), lease(store)) == ([], (None, None))


def test_a_collector_without_a_store_names_the_migrate_command(
    ready: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEPROBE_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    assert "kubeprobe migrate" in ready("collector", code=2).stderr
