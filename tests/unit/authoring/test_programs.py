"""Programs that `probe build` and `probe try` run: none runs longer than its time limit, nor do its children."""

import subprocess
import sys
from pathlib import Path

import pytest

from kubeprobe.authoring import local
from kubeprobe.authoring.programs import ProgramTimeoutError, run_program
from tests.harness.wait import until

CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open(sys.argv[1], "w").write(f"{child.pid} ")
time.sleep(1000)
"""


def test_a_program_and_its_children_end_with_the_time_limit(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    command = [sys.executable, "-c", CHILD, str(noted)]
    with pytest.raises(ProgramTimeoutError, match=r"` took longer than 3 s and was killed"):
        run_program(command, 3, stderr=subprocess.PIPE)
    child = Path("/proc") / noted.read_text().strip()
    until("the child to end", lambda: not child.exists() or ") Z " in (child / "stat").read_text())


def test_the_output_and_the_exit_code_of_a_program_are_returned() -> None:
    done = run_program(["sh", "-c", "echo out; echo err >&2; exit 3"], 30, stderr=subprocess.PIPE)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_a_go_compiler_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "bin" / "go"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\nexec sleep 1000\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(compiler.parent), prepend=":")
    monkeypatch.setattr(local, "_COMPILE_S", 0.2)
    with pytest.raises(ProgramTimeoutError, match="`go build` took longer than"):
        local._compile(tmp_path)
