"""Running other programs, each with a time limit."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kubeprobe.errors import KubeProbeError


class ProgramTimeoutError(KubeProbeError):
    """A program took longer than its time limit and was killed."""


def run_program(
    command: Sequence[str],
    limit_s: float,
    *,
    folder: Path | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int | None,
) -> subprocess.CompletedProcess[str]:
    """Run a program without standard input; its exit code is not judged. Raises ProgramTimeoutError.

    It has a process group of its own, so that the time limit, and Ctrl-C, end its child processes too.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=folder, text=True, process_group=0
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise ProgramTimeoutError(
                f"`{' '.join(command[:2])}` took longer than {limit_s:g} s and was killed; see what it waits for"
            ) from None
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(command, process.returncode, out, err)
