"""Ends the containers of a local cluster that died without doing so itself (`kill -9`).

Runs as a program of its own, started by the kubelet with the instance's name. Its standard input is a pipe
that the local cluster holds open and writes nothing to; when it closes, nobody is left to own the containers.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def marked(mark: str) -> Iterator[int]:
    """The processes whose environment contains a variable that starts with `mark`, but for this one."""
    return (pid for pid in _processes() if mark_of(pid, mark))


def mark_of(pid: int, mark: str) -> str:
    """The whole variable of a process that starts with `mark`; empty when it has none (or has ended)."""
    try:
        environment = Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return ""  # it has ended, or is somebody else's
    found = (item for item in environment.split(b"\0") if item.startswith(mark.encode()))
    return next(found, b"").decode(errors="replace")


def sessions_of(pids: set[int]) -> Iterator[int]:
    """All processes in the sessions of the given ones: also those that changed their environment."""
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
    """Kill every process of a mark, and again until none is left: they may be forking meanwhile."""
    while pids := set(marked(mark)):
        for pid in pids | set(sessions_of(pids)):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        for pid in pids:
            _await_end(pid)


def _await_end(pid: int) -> None:
    """Wait until a killed process has no environment left to find it by (a zombie has none)."""
    try:
        while Path("/proc", str(pid), "environ").read_bytes():
            os.sched_yield()
    except OSError:
        return


def main() -> None:
    """Wait for the owner's end, then end what it owned."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is for the owner, who may need a moment
    while os.read(0, 4096):
        pass
    end_marked(sys.argv[1])


if __name__ == "__main__":
    main()
