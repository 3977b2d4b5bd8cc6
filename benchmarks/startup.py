"""`kubeprobe up` in an empty folder: seconds to the first verdict, and CPU seconds, process by process.

The clock starts with the command and stops when the first outcome's verdict is printed. CPU is what each process had
used by then, with children that had ended. The first start finds no byte code, as where nothing compiled what was
installed; the later ones find what it wrote. Imports: the packages that cost most, by `python -X importtime`.
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
    "up, collector": "import kubeprobe.cli.commands, kubeprobe.up, kubeprobe.cli.collecting",
    "beat": "import beat_schedule, celery.bin.celery, celery.apps.beat",
    "launcher, responder": "import workers.app, workers.launching, workers.responding, workers.housekeeping, "
    "celery.bin.celery, celery.apps.worker",
    "flower": "import beat_schedule, celery.bin.celery, flower.command, flower.app",
    "localcluster": "import kubeprobe.localcluster.__main__",
}


def run() -> list[Table]:
    """Start it some times, each in a new folder; then take imports apart."""
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
    """One start."""

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
    """Nothing of another installation; byte code is kept; unbuffered, so that a line is seen when it is printed."""
    left_out = ("KUBEPROBE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"PYTHONUNBUFFERED": "1"}


def _wait_for_verdict(process: "subprocess.Popen[str]", began: float) -> float:
    said = []
    for line in process.stdout or ():
        said.append(line)
        if VERDICT.search(line):
            return time.monotonic() - began
        if time.monotonic() - began > WITHIN_S:
            break
    raise RuntimeError(f"No verdict within {WITHIN_S:g} s. It said:\n{''.join(said)}")


def _family(root: int) -> dict[str, int]:
    """The process and all below it, by what they run; those that run the same are numbered."""
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
        "What importing costs, by package (own modules only)", ["process", "in all, ms", "the most, in percent"]
    )
    for name, statement in ENTRIES.items():
        own = import_times(statement, environment)
        in_all = sum(own.values())
        most = ", ".join(f"{package} {100 * ms / in_all:.0f}" for package, ms in own.most_common(TOP))
        table.add(name, in_all, most)
    table.notes.append("Wall-clock time, so the share says more than the sum while the machine has other work.")
    return table


def import_times(statement: str, environment: dict[str, str]) -> Counter[str]:
    """Milliseconds by package, in a fresh interpreter, the second time (byte code is cached)."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    for _ in range(2):
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr
    own: Counter[str] = Counter()
    for own_us, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", told):
        own[module.split(".")[0]] += int(own_us) / 1000  # type: ignore[assignment]
    return own
