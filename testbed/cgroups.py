"""The cgroups of everything a test bed starts: components, shims, containers. Used by `processes`, `cluster`.

Through them `down` finds every process it has to end: a child stays in its parent's cgroup, and the kubelet puts
every container below the same root. Works with cgroup v1 and v2.
"""

import os
import signal
import time
from pathlib import Path

from testbed.instance import Instance, TestbedError

MOUNT = Path("/sys/fs/cgroup")
SYSTEM = "system"
KILL_TIMEOUT = 20.0

# The shell joins the cgroups before exec, so that no child is ever outside of them.
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


def create(instance: Instance) -> None:
    """Create the instance's cgroup and its child for components, in every hierarchy."""
    for root in _roots(instance):
        for group in (root, root / SYSTEM):
            group.mkdir(exist_ok=True)
            # A new cpuset of v1 is empty, and accepts no process until it has processors and memory.
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (group / setting).exists() and _is_v1():
                    (group / setting).write_text((group.parent / setting).read_text())


def within(instance: Instance, command: list[str]) -> list[str]:
    """Return the command that runs `command` in the test bed's cgroup, so that `down` ends it."""
    groups = [str(root / SYSTEM) for root in _roots(instance)]
    return ["sh", "-ec", _JOIN, "join", *groups, "--", *command]


def processes(instance: Instance, below: str = "") -> set[int]:
    """Ids of all processes in the instance's cgroups."""
    found: set[int] = set()
    for root in _roots(instance):
        for group, _, _ in os.walk(root / below):  # skips directories that disappear meanwhile; pathlib does not
            try:
                found.update(int(pid) for pid in (Path(group) / "cgroup.procs").read_text().split())
            except OSError:  # the cgroup was removed meanwhile
                continue
    return found


def kill(instance: Instance, below: str = "") -> None:
    """Kill all of them and wait until they have ended."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while pids := processes(instance, below):
        if time.monotonic() > deadline:
            raise TestbedError(f"processes {sorted(pids)} of test bed {instance.name} survive SIGKILL")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def remove(instance: Instance) -> None:
    """Remove the instance's cgroups; no process may be left in them."""
    for root in _roots(instance):
        for group, _, _ in os.walk(root, topdown=False):  # skips directories that disappear meanwhile
            _remove_group(Path(group))


def _remove_group(group: Path) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:  # busy: its last process is still being reaped
            if time.monotonic() > deadline:
                raise TestbedError(f"cgroup {group} cannot be removed: {error}") from error
            time.sleep(0.05)
        else:
            return


def _roots(instance: Instance) -> list[Path]:
    if not _is_v1():
        return [MOUNT / instance.cgroup]
    hierarchies = {hierarchy.resolve() for hierarchy in MOUNT.iterdir() if (hierarchy / "cgroup.procs").exists()}
    return [hierarchy / instance.cgroup for hierarchy in sorted(hierarchies)]


def _is_v1() -> bool:
    return not (MOUNT / "cgroup.controllers").exists()
