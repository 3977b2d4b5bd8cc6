"""Starts engines as processes of the tests, and freezes them. Used by the scenarios."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.probes.places import CLIENT, REPOSITORY


@contextmanager
def engine(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`tests.probes.engines.MODULE` while it is needed."""
    command = [sys.executable, "-m", f"tests.probes.engines.{module}", *arguments]
    env = {"PYTHONPATH": f"{REPOSITORY}:{CLIENT}"}
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()
