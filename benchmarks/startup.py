"""`kubeprobe up` in an empty folder: seconds to the first verdict, and CPU seconds by process.

Time is measured from the command to the first printed verdict. CPU is each process's use by then, including ended
children. The first start finds no byte code, as after an installation that does not compile; later ones find the byte
code of the first. Imports: the packages that take longest, by `python -X importtime`.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.meters import cpu_s, memory_mb
from benchmarks.report import Table

NEEDS_REAL_CLUSTER = False
STARTS = 3
WITHIN_S = 120.0
TOP = 12
SHOWN_S = 0.05
VERDICT = re.compile(r"\b(pass|fail|unknown) ")
ENTRIES = {
    "up, collector": "import kubeprobe.cli.commands, kubeprobe.up, kubeprobe.cli.collector",
    "beat": "import beat_schedule, celery.bin.celery, celery.apps.beat",
    "launcher, responder": "import workers.app, workers.launching, workers.responding, workers.housekeeping, "
    "celery.bin.celery, celery.apps.worker",
    "flower": "import beat_schedule, celery.bin.celery, flower.command, flower.app",
    "localcluster": "import kubeprobe.localcluster.__main__",
}


def run() -> list[Table]:
    """Start it several times, each in a new folder; then measure imports."""
    times = Table("`kubeprobe up` in an empty folder", ["start", "first verdict, s", "CPU s until then", "load before"])
    with tempfile.TemporaryDirectory(prefix="kubeprobe-bench-") as byte_code:
        environment = _clean_environment() | {"PYTHONPYCACHEPREFIX": byte_code}
        starts = [_start(environment) for _ in range(STARTS)]
        imports = _imports(environment)
    for number, start in enumerate(starts, 1):
        name = f"{number}, with byte code" if number > 1 else "1, without byte code"
        times.add(name, start.seconds, sum(start.cpu_s.values()), start.load)
    best = min(starts, key=lambda start: start.seconds)
    processes = Table("Its processes at the first verdict (fastest start)", ["process", "CPU s", "memory MB"])
    for name, seconds in sorted(best.cpu_s.items(), key=lambda item: -item[1]):
        if seconds >= SHOWN_S:
            processes.add(name, seconds, best.memory_mb[name])
    return [times, processes, imports]


@dataclass(frozen=True)
class Start:
    """The measurements of one start."""

    seconds: float
    load: float
    cpu_s: dict[str, float]
    memory_mb: dict[str, float]


def _start(environment: dict[str, str]) -> Start:
    with tempfile.TemporaryDirectory(prefix="kubeprobe-bench-") as folder:
        load, began = os.getloadavg()[0], time.monotonic()
        process = subprocess.Popen(
            [Path(sys.executable).parent / "kubeprobe", "up"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            seconds = _wait_for_verdict(process, began)
            pids = _family(process.pid)
            cpu = {name: cpu_s([pid]) for name, pid in pids.items()}
            memory = {name: memory_mb(pid) for name, pid in pids.items()}
            return Start(seconds, load, cpu, memory)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def _clean_environment() -> dict[str, str]:
    """The environment without KubeProbe's settings, with byte code, and unbuffered so that lines arrive at once."""
    left_out = ("KUBEPROBE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"PYTHONUNBUFFERED": "1"}


def _wait_for_verdict(process: "subprocess.Popen[str]", began: float) -> float:
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if VERDICT.search(line):
            return time.monotonic() - began
        if time.monotonic() - began > WITHIN_S:
            break
    raise RuntimeError(f"No verdict within {WITHIN_S:g} s. Output:\n{''.join(lines)}")


def _family(root: int) -> dict[str, int]:
    """The process and all its descendants, by role."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, ours = {"up": root}, {root}
    while new := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= new
        found |= {_role(pid): pid for pid in new}
    return found


def _role(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    text = " ".join(command)
    for role in ("launcher", "responder", "flower", "collector", "localcluster", "valkey"):
        if role in text and "reaper" not in text:
            return role
    if " beat" in text:
        return "beat"
    return f"{Path(command[0]).name or 'ended'} {pid}"


def _imports(environment: dict[str, str]) -> Table:
    table = Table(
        "Import time by package (a package's own modules only)", ["process", "total, ms", "slowest packages, percent"]
    )
    for name, statement in ENTRIES.items():
        own = import_times(statement, environment)
        total = sum(own.values())
        most = ", ".join(f"{package} {100 * ms / total:.0f}" for package, ms in own.most_common(TOP))
        table.add(name, total, most)
    table.notes.append("Wall-clock time: on a busy machine, the shares are more reliable than the total.")
    return table


def import_times(statement: str, environment: dict[str, str]) -> Counter[str]:
    """Milliseconds by package in a new interpreter, at the second run (with cached byte code)."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    for _ in range(2):
        timings = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr
    own: Counter[str] = Counter()
    for own_us, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", timings):
        own[module.split(".")[0]] += int(own_us) / 1000  # type: ignore[assignment]
    return own
