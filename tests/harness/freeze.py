"""Freezing processes: they accept connections, as the kernel does that for them, and answer nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness.wait import until


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process and its children with SIGSTOP, and let them go on at the end."""
    stopped = [pid]
    os.kill(pid, signal.SIGSTOP)
    try:
        until("the process to stop", lambda: _is_stopped(pid))  # it starts no more children
        for child in _children(pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                stopped.append(child)
        until("its children to stop", lambda: all(map(_is_stopped, stopped)))
        yield
    finally:
        for one in stopped:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Whether it executes nothing: it is stopped, or has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "TtZX"


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
