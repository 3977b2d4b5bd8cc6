"""Runs one pytest on several workers, each in its own network namespace, and reads the results.

A worker is a Python process that pytest-xdist controls over pipes, so it can be started in any environment: in a new
network namespace, where all ports are free and only loopback can be reached, or in a test bed's.
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

    __test__ = False  # not a test class, despite its name

    name: str
    """pytest's node id."""
    tier: str
    outcome: Outcome = "skipped"
    seconds: float = 0.0
    output: str = ""
    """The traceback if it failed, then all captured output."""

    def add(self, phase: dict[str, Any]) -> None:
        """Add the report of its set-up, call or tear-down."""
        self.seconds += phase["duration"]
        if phase["outcome"] == "failed" or (phase["when"] == "call" and self.outcome != "failed"):
            self.outcome = phase["outcome"]
        shown = [text_of(phase["longrepr"])] if phase["outcome"] == "failed" else []
        shown += [f"{title}:\n{text.rstrip()}" for title, text in phase["sections"]]
        self.output = "\n".join([self.output, *shown]).strip("\n")


@dataclass
class Result:
    """The result of one pytest."""

    name: str
    tests: list[Test] = field(default_factory=list)
    seconds: float = 0.0
    """Wall-clock time; `Test.seconds` add up over all workers."""
    broken: str = ""
    """Why pytest itself failed, independent of its tests; empty if it did not."""

    @property
    def failed(self) -> list[Test]:
        """The tests that failed."""
        return [test for test in self.tests if test.outcome == "failed"]


def isolated() -> Command:
    """The command that runs Python in a network namespace with only loopback; empty if that is not allowed."""
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
    """The command that runs Python inside a test bed's network namespace, with the test bed's name in `environ`."""
    known = [f"{NAME_VARIABLE}={instance.name}", f"{KUBECONFIG}={instance.kubeconfig}"]
    entered = [sys.executable, "-m", "testbed", "--name", instance.name, "exec", "--", sys.executable]
    return ("env", *known, *entered)


def run(name: str, chosen: Sequence[str], workers: Sequence[Command]) -> Result:
    """Run the tests selected by pytest's arguments, distributed over workers; print its output.

    `workers`: the command that starts the Python of each; without any, tests run in pytest's own process.
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
        result.broken = f"pytest exited with code {process.returncode}"
    status = result.broken or (f"{len(result.failed)} failed" if result.failed else "ok")
    say(f"{name}: {status}, {result.seconds:.0f} s")
    return result


def read(log: Path) -> Iterator[Test]:
    """The tests in a file of pytest-reportlog; a module that could not be collected is a failed test."""
    tests: dict[str, Test] = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if entry["$report_type"] == "TestReport":
            name = entry["nodeid"]
            # A test lost with its worker has no properties: then its path decides.
            tier = dict(entry["user_properties"]).get(TIER) or tier_of(name, ())
            tests.setdefault(name, Test(name, tier)).add(entry)
        elif entry["$report_type"] == "CollectReport" and entry["outcome"] == "failed":
            yield Test(entry["nodeid"], TIERS[0], "failed", output=text_of(entry["longrepr"]))
    yield from tests.values()


def text_of(failure: Any) -> str:
    """The text of a failure, without the frames of pytest and other libraries."""
    if not isinstance(failure, dict):
        return str(failure)
    entries = failure.get("reprtraceback", {}).get("reprentries", [])
    frames = [frame for entry in entries for frame in entry["data"].get("lines", [])]
    text = "".join(frame for frame in frames if "site-packages" not in frame)
    return text.rstrip() or str(failure.get("reprcrash", {}).get("message", ""))


def say(text: str) -> None:
    """Print a whole line at once, as other threads may print too."""
    with _printing:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
