"""Kills the containers of a local cluster that could not do so itself (`kill -9`).

A program of its own, started by the kubelet with the cluster's mark. Its standard input is a pipe that the
local cluster holds open and never writes to; when it closes, the local cluster has ended.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

_READS = 1000
"""Attempts to read the environment of a process that executes a program, which takes some microseconds of its time."""


def marked(mark: str) -> Iterator[int]:
    """The processes, except this one, whose environment contains a variable that starts with `mark`."""
    return (pid for pid in _processes() if mark_of(pid, mark))


def mark_of(pid: int, mark: str) -> str:
    """The variable (NAME=VALUE) of a process that starts with `mark`; empty if it has none or has ended."""
    try:
        environment = _environment(pid)
    except OSError:
        return ""  # it has ended, or belongs to another user
    found = (item for item in environment.split(b"\0") if item.startswith(mark.encode()))
    return next(found, b"").decode(errors="replace")


def _environment(pid: int) -> bytes:
    """The environment of a process; raises OSError. While a process executes a program, the kernel shows none."""
    for _ in range(_READS):
        if environment := Path("/proc", str(pid), "environ").read_bytes():
            return environment
        # The fields from the third one on, as in proc(5); the second, the program's name, may contain anything.
        fields = Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()
        memory, start, end = int(fields[20]), int(fields[47]), int(fields[48])
        if not memory or start == end != 0:
            return b""  # a zombie or a thread of the kernel; or it was started without any variable
        os.sched_yield()
    return b""


def sessions_of(pids: set[int]) -> Iterator[int]:
    """All processes in the sessions of the given ones, including those that changed their environment."""
    for pid in _processes():
        try:
            session = os.getsid(pid)
        except OSError:
            continue
        if session in pids:
            yield pid


def _processes() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def end_marked(mark: str) -> None:
    """Kill every process with a mark; repeat until none is left, as they may fork meanwhile."""
    while pids := set(marked(mark)):
        for pid in pids | set(sessions_of(pids)):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        for pid in pids:
            _await_end(pid)


def _await_end(pid: int) -> None:
    """Wait until a killed process has no environment to find it by (a zombie has none)."""
    try:
        while Path("/proc", str(pid), "environ").read_bytes():
            os.sched_yield()
    except OSError:
        return


def main() -> None:
    """Wait for the end of the local cluster, then kill its processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the local cluster too, which may need time to stop
    while os.read(0, 4096):
        pass
    end_marked(sys.argv[1])


if __name__ == "__main__":
    main()
