"""`make test`: every tier of tests that this machine can run, and why it does not run the others.

Unit, services and local run wherever Python does; real needs root and Go for the test beds' Kubernetes, and runs inside
their network namespaces. With CI=true a tier that cannot run is a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from testbed import Instance, Testbed, binaries, packages
from testbed.instance import NAME_VARIABLE

ROOT = Path(__file__).parents[1]
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|errors?)")
SCENARIOS = "tests/probes/test_scenarios.py"
FIRST_FAULTS = "finds_its_fault and not (volume or virtual or service or rules or rate or version or workload)"
REAL = {
    "tests-1": [SCENARIOS, "-k", FIRST_FAULTS],
    "tests-2": [SCENARIOS, "-k", f"not ({FIRST_FAULTS})"],
    "tests-3": [f"--ignore={SCENARIOS}"],
}
"""Test bed -> the real tests on it. Each takes about as long, mostly waiting; one fault breaks a whole cluster."""
_printing = Lock()


@dataclass(frozen=True)
class Tier:
    """One pytest, and what it needs."""

    name: str
    chosen: Sequence[str]
    """Its arguments."""
    inside: Sequence[str] = ()
    """A command that it runs within."""
    environment: Mapping[str, str] = field(default_factory=dict)


NOT_REAL = Tier("unit, services, local", ["-m", "not real", "-q"])


@dataclass
class Result:
    """What one or several tiers came to."""

    failed: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """pytest's own lines."""

    def add(self, other: "Result") -> None:
        """Take another's to one's own."""
        self.failed |= other.failed
        self.counts += other.counts
        self.failures += other.failures


def main() -> int:
    """Run the tiers; 0 if nothing failed."""
    result = Result()
    if can_install():
        packages.install(ROOT / "tests" / "packages.txt")
    if reason := why_not_real():
        result.add(run(NOT_REAL))
        say(f"real: not run: {reason}")
        result.failed |= os.environ.get("CI") == "true"
    else:
        packages.install()
        with ThreadPoolExecutor(1) as beside:  # minutes on a fresh machine, nothing later on
            built = beside.submit(binaries.build_all)
            result.add(run(NOT_REAL))
            built.result()
        result.add(run_real())
    for line in result.failures:
        say(line)
    counts = result.counts
    say(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed, {counts['skipped']} skipped")
    return int(result.failed)


def can_install() -> bool:
    """Whether this is root on Debian."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def why_not_real() -> str | None:
    """What the test beds lack here."""
    if os.geteuid() != 0:
        return "the test bed starts containers and needs root"
    if shutil.which("go") is None:
        return "the test bed's Kubernetes is built with Go, which is not installed"
    if not can_install():
        return "the test bed installs Debian packages, and this is no Debian"
    return None


def run_real() -> Result:
    """Start the test beds, and run what is marked `real` inside their namespaces, at the same time."""
    result = Result()
    with ExitStack() as stack:
        tiers = []
        for name, chosen in REAL.items():
            testbed = Testbed(Instance(name))
            stack.callback(testbed.down)
            testbed.up()
            tiers.append(real_tier(testbed.instance, chosen))
        with ThreadPoolExecutor(len(tiers)) as pool:
            for one in pool.map(run, tiers):
                result.add(one)
    return result


def real_tier(instance: Instance, chosen: Sequence[str]) -> Tier:
    """The real tests that run on one test bed."""
    inside = [sys.executable, "-m", "testbed", "--name", instance.name, "exec", "--"]
    environment = {NAME_VARIABLE: instance.name, "KUBEPROBE_TEST_REAL_KUBECONFIG": str(instance.kubeconfig)}
    return Tier(f"real, {instance.name}", ["-m", "real", "-v", *chosen], inside, environment)


def run(tier: Tier) -> Result:
    """Run one pytest, pass its output through, count its results."""
    say(f"=== {tier.name} ===")
    result, last = Result(), ""
    began = time.monotonic()
    command = [*tier.inside, sys.executable, "-m", "pytest", *tier.chosen, "--color=no"]
    environment = os.environ | tier.environment
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    for line in process.stdout or ():
        say(line.rstrip("\n"))
        last = line if COUNTS.search(line) else last
        if line.startswith(("FAILED ", "ERROR ")):
            result.failures.append(line.rstrip("\n"))
    code = process.wait()
    result.failed = code != 0
    result.counts.update(
        {kind.removesuffix("s") if "error" in kind else kind: int(n) for n, kind in COUNTS.findall(last)}
    )
    say(f"{tier.name}: {'ok' if code == 0 else f'failed (exit code {code})'} in {time.monotonic() - began:.0f} s")
    return result


def say(text: str) -> None:
    """A whole line: tiers that run at the same time print at the same time."""
    with _printing:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
