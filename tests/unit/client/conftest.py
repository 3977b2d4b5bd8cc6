"""Runs probes that use the client library as processes of their own, without KubeProbe."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).parents[3] / "clients" / "python"
if str(CLIENT) not in sys.path:  # the package is only installed in images
    sys.path.insert(0, str(CLIENT))


@dataclass(frozen=True)
class Ended:
    """Exit code, output and report of a program."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.raw)
        return document


class Program:
    """A probe's source, which is run as `python probe.py`."""

    def __init__(self, folder: Path, source: str, env: dict[str, str]) -> None:
        self.file = folder / "probe.py"
        self.file.write_text("from kubeprobe_client import *\n" + textwrap.dedent(source))
        self.report_file = folder / "report"
        self.env = {"PYTHONPATH": str(CLIENT), "KUBEPROBE_REPORT_FILE": str(self.report_file)} | env

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(self.file)],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=30)
        raw = self.report_file.read_bytes() if self.report_file.exists() else b""
        return Ended(process.returncode, out, err, raw)

    def terminate_after(self, word: str) -> Ended:
        process = self.start()
        assert process.stdout is not None
        assert process.stdout.readline().strip() == word
        process.send_signal(signal.SIGTERM)
        return self.finish(process)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    def make(source: str, **env: str) -> Program:
        return Program(tmp_path, source, env)

    return make


@pytest.fixture
def ended(program: Callable[..., Program]) -> Callable[..., Ended]:
    """Run a probe's source until it ends."""

    def run(source: str, **env: str) -> Ended:
        one = program(source, **env)
        return one.finish(one.start())

    return run
