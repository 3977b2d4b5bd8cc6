"""`make test`: every tier of tests that this machine can run, and why it does not run the others.

Unit, services and local run wherever Python does; real needs root and Go for the test bed's Kubernetes, and runs inside
its network namespace. With CI=true a tier that cannot run is a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from testbed import Instance, Testbed, packages
from testbed.instance import NAME_VARIABLE

ROOT = Path(__file__).parents[1]
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|errors?)")


def main() -> int:
    """Run the tiers; 0 if nothing failed."""
    counts: Counter[str] = Counter()
    failed = False
    if can_install():
        packages.install(ROOT / "tests" / "packages.txt")
    failed |= run_tier("unit, services, local", [sys.executable, "-m", "pytest", "-m", "not real", "-q"], counts)
    if reason := why_not_real():
        say(f"real: not run: {reason}")
        failed |= os.environ.get("CI") == "true"
    else:
        failed |= run_real(counts)
    say(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed, {counts['skipped']} skipped")
    return int(failed)


def can_install() -> bool:
    """Whether this is root on Debian."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def why_not_real() -> str | None:
    """What the test bed lacks here."""
    if os.geteuid() != 0:
        return "the test bed starts containers and needs root"
    if shutil.which("go") is None:
        return "the test bed's Kubernetes is built with Go, which is not installed"
    if not can_install():
        return "the test bed installs Debian packages, and this is no Debian"
    return None


def run_real(counts: Counter[str]) -> bool:
    """Build and start the test bed, and run what is marked `real` inside its namespace."""
    testbed = Testbed(Instance("tests"))
    packages.install()
    try:
        testbed.up()
        name = testbed.instance.name
        inside = [sys.executable, "-m", "testbed", "--name", name, "exec", "--"]
        command = [*inside, sys.executable, "-m", "pytest", "-m", "real", "-v"]
        kubeconfig = str(testbed.instance.kubeconfig)
        environment = {NAME_VARIABLE: name, "KUBEPROBE_TEST_REAL_KUBECONFIG": kubeconfig}
        return run_tier("real", command, counts, environment)
    finally:
        testbed.down()


def run_tier(name: str, command: list[str], counts: Counter[str], extra: dict[str, str] | None = None) -> bool:
    """Run one pytest, pass its output through, count its results; True if it failed."""
    say(f"=== {name} ===")
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--color=no"], cwd=ROOT, env=os.environ | (extra or {}), stdout=subprocess.PIPE, text=True
    )
    last = ""
    for line in process.stdout or ():
        sys.stdout.write(line)
        sys.stdout.flush()
        last = line if COUNTS.search(line) else last
    code = process.wait()
    counts.update({kind.removesuffix("s") if "error" in kind else kind: int(n) for n, kind in COUNTS.findall(last)})
    say(f"{name}: {'ok' if code == 0 else f'failed (exit code {code})'} in {time.monotonic() - began:.0f} s")
    return code != 0


def say(text: str) -> None:
    """A line of our own among pytest's."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
