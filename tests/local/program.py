"""A local cluster as a separate process, as users start it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def program(directory: Path, *arguments: str, token: bool = False) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running local cluster and its address; terminated on exit."""
    command = [sys.executable, "-m", "kubeprobe.localcluster", "--dir", str(directory), *arguments]
    command += [] if token else ["--no-token"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "ready" in line, f"the local cluster did not start: {line!r}"
            yield process, line.split()[3]
        finally:
            process.terminate()
