"""A worker that cannot serve tasks does not start."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
WORKER = ("-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "1", "-Q", "response")


def test_a_worker_does_not_start_on_an_unmigrated_store(tmp_path: Path, valkey: str) -> None:
    environment = os.environ | {"KUBEPROBE_DATA_DIR": str(tmp_path), "KUBEPROBE_BROKER_URL": valkey}
    command = [sys.executable, *WORKER, "--without-gossip", "--without-mingle"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "This worker cannot start: The store is at revision none" in done.stderr
