"""A worker that cannot serve tasks does not start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WORKER = ("-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "1", "-Q", "response")


@pytest.mark.parametrize(
    ("has_file", "problem"), [(False, "There is no store at"), (True, "The store is at revision none")]
)
def test_a_worker_does_not_start_without_a_migrated_store(
    tmp_path: Path,
    valkey: str,
    has_file: bool,  # noqa: FBT001
    problem: str,
) -> None:
    store = tmp_path / "store.db"
    if has_file:
        store.touch()
    environment = os.environ | {"KUBEPROBE_DATABASE_URL": f"sqlite:///{store}", "KUBEPROBE_BROKER_URL": valkey}
    command = [sys.executable, *WORKER, "--without-gossip", "--without-mingle"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"This worker cannot start: {problem}" in done.stderr
