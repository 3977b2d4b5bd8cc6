"""One pytest on several workers, each in a network namespace of its own, and what became of every test. Next: `flaky`.

A worker is a Python that pytest-xdist talks to over pipes, so it can be started inside whatever its tests need: a new
network namespace, where all ports are free and nothing but loopback can be reached, or a test bed's.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from testbed import Instance
from testbed.instance import NAME_VARIABLE
from tests.harness.tier import TIER, TIERS, tier_of
from tests.real.conftest import KUBECONFIG

ROOT = Path(__file__).parents[2]
_LOOPBACK_ONLY = ["sh", "-c", 'ip link set lo up && exec "$0" "$@"']
_printing = Lock()

Command = Sequence[str]
Outcome = Literal["passed", "failed", "skipped"]


@dataclass
class Test:
    """One test of a run: its outcome, and what it printed."""

    __test__ = False  # not a test class, whatever pytest reads into its name

    name: str
    """pytest's node id."""
    tier: str
    outcome: Outcome = "skipped"
    seconds: float = 0.0
    output: str = ""
    """The traceback if it failed, then all that was captured."""

    def add(self, phase: dict[str, Any]) -> None:
        """Take in the report of its set-up, call or tear-down."""
        self.seconds += phase["duration"]
        if phase["outcome"] == "failed" or (phase["when"] == "call" and self.outcome != "failed"):
            self.outcome = phase["outcome"]
        shown = [text_of(phase["longrepr"])] if phase["outcome"] == "failed" else []
        shown += [f"{title}:\n{text.rstrip()}" for title, text in phase["sections"]]
        self.output = "\n".join([self.output, *shown]).strip("\n")


@dataclass
class Result:
    """What one pytest came to."""

    name: str
    tests: list[Test] = field(default_factory=list)
    seconds: float = 0.0
    """From start to end, while `Test.seconds` add up over all workers."""
    broken: str = ""
    """Why pytest itself failed, whatever its tests did; empty if it did not."""

    @property
    def failed(self) -> list[Test]:
        """The tests that failed."""
        return [test for test in self.tests if test.outcome == "failed"]


def isolated() -> Command:
    """The command that runs a Python in a network namespace with nothing but loopback; empty if that cannot be had."""
    unshare = ["unshare", "--net"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-current-user", "--keep-caps"]
    command = [*unshare, "--", *_LOOPBACK_ONLY]
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return (*command, sys.executable) if tried.returncode == 0 else ()


def inside(instance: Instance) -> Command:
    """The command that runs a Python inside a test bed's network namespace, and tells it which test bed that is."""
    known = [f"{NAME_VARIABLE}={instance.name}", f"{KUBECONFIG}={instance.kubeconfig}"]
    entered = [sys.executable, "-m", "testbed", "--name", instance.name, "exec", "--", sys.executable]
    return ("env", *known, *entered)


def run(name: str, chosen: Sequence[str], workers: Sequence[Command]) -> Result:
    """Run the tests that pytest's arguments choose, shared out among workers as they get free; print its output.

    `workers`: for each the command that starts its Python; none runs the tests in pytest's own process.
    """
    say(f"=== {name} ===")
    result = Result(name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kubeprobe-tests-") as folder:
        log = Path(folder) / "report.jsonl"
        spread = ["--dist=load", *(f"--tx=popen//python={shlex.join(worker)}" for worker in workers)]
        options = [*(spread if workers else ()), f"--report-log={log}", "--color=no"]
        command = [sys.executable, "-m", "pytest", *chosen, *options]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                say(line.rstrip("\n"))
        result.tests = list(read(log)) if log.exists() else []
    result.seconds = time.monotonic() - began
    if process.returncode != (1 if result.failed else 0):
        result.broken = f"pytest ended with exit code {process.returncode}"
    said = result.broken or (f"{len(result.failed)} failed" if result.failed else "ok")
    say(f"{name}: {said}, {result.seconds:.0f} s")
    return result


def read(log: Path) -> Iterator[Test]:
    """The tests in a file that pytest-reportlog wrote; modules that could not be collected are failed tests."""
    tests: dict[str, Test] = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if entry["$report_type"] == "TestReport":
            name = entry["nodeid"]
            # Without properties where it was lost together with its worker: then only its file says what it is.
            tier = dict(entry["user_properties"]).get(TIER) or tier_of(name, ())
            tests.setdefault(name, Test(name, tier)).add(entry)
        elif entry["$report_type"] == "CollectReport" and entry["outcome"] == "failed":
            yield Test(entry["nodeid"], TIERS[0], "failed", output=text_of(entry["longrepr"]))
    yield from tests.values()


def text_of(failure: Any) -> str:
    """What pytest says of a failure, without the frames of pytest and other libraries."""
    if not isinstance(failure, dict):
        return str(failure)
    entries = failure.get("reprtraceback", {}).get("reprentries", [])
    frames = [frame for entry in entries for frame in entry["data"].get("lines", [])]
    text = "".join(frame for frame in frames if "site-packages" not in frame)
    return text.rstrip() or str(failure.get("reprcrash", {}).get("message", ""))


def say(text: str) -> None:
    """Print a whole line at once: others may print at the same time."""
    with _printing:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
