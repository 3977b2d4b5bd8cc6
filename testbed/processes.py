"""Starts, watches and stops the process of a component. Used by `cluster`.

A process is identified by its id and its start time, so that a reused id is not mistaken for the component.
Processes outlive the program that starts them, so that any later `python -m testbed` can stop them.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed import cgroups
from testbed.commands import run, tail
from testbed.components import Component
from testbed.instance import Instance, TestbedError

STOP_TIMEOUT = 10.0
KILL_TIMEOUT = 10.0
POLL_INTERVAL = 0.05
LISTENING = "0A"  # the state in /proc/net/tcp

# In the background of a shell that ends, so that init becomes the parent.
START = """\
log=$1; shift
"$@" < /dev/null >> "$log" 2>&1 &
echo $!
"""


@dataclass(frozen=True)
class Process:
    """A process: its id, and its start in clock ticks since boot."""

    pid: int
    started: int

    def state(self) -> str | None:
        """One letter as in proc(5), `T` when paused; None when it has ended."""
        now = _stat(self.pid)
        if now is None or now[1] != self.started or now[0] in "ZX":
            return None
        return now[0]

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is still running."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.state() is not None:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)

    def wait(self, timeout: float) -> bool:
        """Whether it ends within `timeout` seconds."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if self.state() is None:
                return True
            watch = select.poll()
            watch.register(handle, select.POLLIN)
            return bool(watch.poll(timeout * 1000))
        finally:
            os.close(handle)


def find(instance: Instance, component: Component) -> Process | None:
    """Return the component's running process, or None."""
    try:
        pid, started = _record(instance, component).read_text().split()
    except (FileNotFoundError, ValueError):  # never started, or interrupted while starting
        return None
    process = Process(int(pid), int(started))
    return process if process.state() is not None else None


def start(instance: Instance, component: Component, binaries: Path) -> Process:
    """Start the component unless it runs; returns at once."""
    if running := find(instance, component):
        return running
    command = cgroups.within(instance, component.command(instance, binaries))
    log = log_file(instance, component)
    log.parent.mkdir(parents=True, exist_ok=True)
    # In a session of its own, which Ctrl-C in the terminal does not reach.
    pid = int(run(["setsid", "sh", "-c", START, "start", str(log), *command], cwd=Path("/")))
    seen = _stat(pid)
    if seen is None:
        raise failure(instance, component, "ended at once")
    process = Process(pid, seen[1])
    record = _record(instance, component)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(f"{process.pid} {process.started}\n")
    return process


def stop(instance: Instance, component: Component) -> None:
    """Send SIGTERM to the component; kill it after STOP_TIMEOUT seconds."""
    process = find(instance, component)
    if process is None:
        return
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)  # a paused process does not handle signals
    if not process.wait(STOP_TIMEOUT):
        kill(instance, component)


def kill(instance: Instance, component: Component) -> None:
    """Kill the component and wait until it has ended, so that its port is free again."""
    process = find(instance, component)
    if process is None:
        return
    process.send(signal.SIGKILL)
    if not process.wait(KILL_TIMEOUT):
        raise TestbedError(f"{component.name} (process {process.pid}) survives SIGKILL")


def serves(instance: Instance, component: Component) -> bool:
    """Whether the component listens. Raises TestbedError with the last lines of its log if it has ended."""
    process = find(instance, component)
    if process is None:
        raise failure(instance, component, "has ended")
    if component.port is None:
        return _connects(instance.containerd_socket)
    return component.port in _listening_ports(process.pid)


def wait_until(what: str, check: Callable[[], bool], timeout: float) -> None:
    """Poll `check` until it is true. Raises TestbedError with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise TestbedError(f"timed out after {timeout:g} s waiting until {what}")
        time.sleep(POLL_INTERVAL)


def log_file(instance: Instance, component: Component) -> Path:
    """The component's log."""
    return instance.logs / f"{component.name}.log"


def failure(instance: Instance, component: Component, what: str) -> TestbedError:
    """Return the error for a component, with the last lines of its log and the log's path."""
    log = log_file(instance, component)
    text = log.read_text(errors="replace") if log.exists() else ""
    return TestbedError(f"{component.name} {what}; last lines of {log}:\n{tail(text)}")


def _record(instance: Instance, component: Component) -> Path:
    return instance.run / "pids" / component.name


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time of a process, as proc(5) describes the fields 3 and 22."""
    try:
        # The second field, the program's name, may contain anything but ends with the last parenthesis.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def _listening_ports(pid: int) -> set[int]:
    """The listening TCP ports in the process's network namespace."""
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:  # the process ended, or the kernel has no IPv6
            continue
        sockets = (line.split() for line in lines)
        ports.update(int(fields[1].rpartition(":")[2], 16) for fields in sockets if fields[3] == LISTENING)
    return ports


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
