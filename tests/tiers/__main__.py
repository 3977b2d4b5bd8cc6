"""Run every tier of tests that this machine can run, and say why it does not run the others.

Unit, services and local run wherever Python does; real needs root and Go for the test beds' Kubernetes, and runs inside
their network namespaces. With CI=true a tier that cannot run is a failure. On a fresh machine the test beds' programs
are built beside the tests, and a test that needs one which is not there yet waits for that one only.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from testbed import Instance, Testbed, TestbedError, binaries, images, packages
from tests.harness.tier import TIERS
from tests.probes.telling import explanation
from tests.tiers import flaky, summary
from tests.tiers.pytests import ROOT, Result, Test, inside, isolated, run, say

SLOWEST = ["--durations=40", "--durations-min=0.5"]
WORKERS_PER_CORE = 2
"""Tests mostly wait, for processes and databases."""
BEDS = ("tests-1", "tests-2", "tests-3")
"""Test beds that share out the real tests. A fault breaks a whole cluster, so there is one test at a time on each."""
SPARE_BED = "tests-again"


def main() -> int:
    """Run the tiers; 0 if nothing failed, or only what then passed alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiers", description="Run the tests of every tier.")
    parser.add_argument("--soak", action="store_true", help="run the tests that take minutes, and no others")
    options = ["--soak"] if parser.parse_args().soak else []
    began = datetime.now(UTC)
    if can_install():
        packages.install(ROOT / "tests" / "packages.txt")
    if reason := why_not_real():
        results = [run_not_real(options)]
        say(f"real: not run: {reason}")
    else:
        packages.install()
        with building_beside() as builds:
            results = [run_not_real(options), unless_broken("real", lambda: run_real(builds[0], options))]
            results += [unless_broken("programs", lambda: finished(builds[1]))]
    tests = [test for result in results for test in result.tests]
    verdict = flaky.judge(tests, lambda test: unless_broken(test.name, lambda: run_alone(test, options)))
    broken = [f"{result.name}: {result.broken}" for result in results if result.broken]
    ok = not (verdict.failed or broken or (reason and os.environ.get("CI") == "true"))
    file = summary.FILE.with_name("soak.json") if options else summary.FILE
    summary.write(results, verdict, ok=ok, began=began, file=file)
    report(summary.counts(results, verdict), verdict, broken)
    return 0 if ok else 1


def unless_broken(name: str, act: Callable[[], Result]) -> Result:
    """What `act` comes to, or that a test bed or a build failed: the other results are reported all the same."""
    try:
        return act()
    except TestbedError as error:
        return Result(name, broken=str(error))


def finished(build: Future[None]) -> Result:
    """Wait for a build; raises what it raised."""
    build.result()
    return Result("programs")


def report(counts: dict[str, int], verdict: flaky.Verdict, broken: list[str]) -> None:
    """Print what failed, the outputs of what was flaky, and last the counts."""
    for first, alone in verdict.flaky:
        say(flaky.describe(first, alone))
    for line in (*broken, *(f"FAILED {test.name}" for test in verdict.failed), verdict.explanation):
        if line:
            say(line)
    for first, _ in verdict.flaky:
        say(f"FLAKY {first.name}")
    say(f"{counts['flaky']} flaky: failed once, then passed alone (docs/testing.md says what to do about them)")
    say(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")


def can_install() -> bool:
    """Whether this is root on Debian."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def why_not_real() -> str:
    """What the test beds lack here; nothing if they can run."""
    if os.geteuid() != 0:
        return "the test bed starts containers and needs root"
    if shutil.which("go") is None:
        return "the test bed's Kubernetes is built with Go, which is not installed"
    if not can_install():
        return "the test bed installs Debian packages, and this is no Debian"
    return ""


@contextmanager
def building_beside() -> Iterator[tuple[Future[object], Future[None]]]:
    """Build meanwhile what every test bed starts, and then what only some tests start."""
    binaries.reserve_extras()
    with ThreadPoolExecutor(1) as builder:
        yield builder.submit(images.build_all), builder.submit(binaries.build_extras)


def run_not_real(options: Sequence[str]) -> Result:
    """Run unit, services and local, on several workers if each can have a network namespace of its own."""
    worker = isolated()
    if not worker:
        say("one test at a time: tests use fixed ports, and this machine allows no network namespaces")
    count = WORKERS_PER_CORE * (os.cpu_count() or 1)
    return run(
        "unit, services, local", ["-m", "not real", "-q", *SLOWEST, *options], [worker] * count if worker else []
    )


def run_real(basis: Future[object], options: Sequence[str]) -> Result:
    """Start the test beds once their programs are built, and run the real tests inside their namespaces."""
    basis.result()
    with ExitStack() as stack, ThreadPoolExecutor(len(BEDS)) as pool:
        beds = [Testbed(Instance(name)) for name in BEDS]
        for bed in beds:
            bed.down()  # a run that was killed leaves its faults behind
            stack.callback(bed.down)
        list(pool.map(Testbed.up, beds))
        say("\n".join(explanation()))
        return run("real", ["-m", "real", "-v", *SLOWEST, *options], [inside(bed.instance) for bed in beds])


def run_alone(test: Test, options: Sequence[str]) -> Result:
    """Run one test by itself; a real one on a test bed that is new, from its images on."""
    name = f"again, alone: {test.name}"
    if test.tier != TIERS[-1]:
        return run(name, [test.name, "-q", *options], [isolated()] if isolated() else [])
    bed = Testbed(Instance(SPARE_BED))
    with ExitStack() as stack:
        stack.callback(bed.down)
        bed.up(fresh=True)
        return run(name, [test.name, "-v", *options], [inside(bed.instance)])


if __name__ == "__main__":
    sys.exit(main())
