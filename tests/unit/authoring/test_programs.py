"""Programs that `probe build` and `probe try` run: none runs longer than its time limit, nor do its children."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeprobe.authoring import local, programs
from kubeprobe.authoring.programs import ProgramTimeoutError, run_program
from tests.harness.heldpipe import held_pipe


def test_a_program_and_its_children_end_with_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit begins when the child has started, however long that takes."""
    with held_pipe(tmp_path) as child:

        class Started(subprocess.Popen[str]):
            def communicate(self, *arguments: Any, **options: Any) -> tuple[str, str]:
                child.wait_for_start()
                return super().communicate(*arguments, **options)

        monkeypatch.setattr(programs, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": Started}))
        command = ["sh", "-c", f"(echo started; exec sleep 1000) > {child.path} & wait"]
        with pytest.raises(ProgramTimeoutError, match=r"`sh -c` took longer than 0.2 s and was killed"):
            run_program(command, 0.2, stderr=subprocess.PIPE)
        child.wait_for_end()


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
