"""Run every tier of tests that this machine can run, and print why it does not run the others.

Unit, services and local need only Python; real needs root and Go for the test beds' Kubernetes, and runs inside their
network namespaces. With CI=true a tier that cannot run is a failure. On a new machine the test beds' programs are
built while tests run, and a test that needs a missing one waits for that one only.
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
from tests.probes.selected_faults import explanation
from tests.tiers import flaky, summary
from tests.tiers.pytests import ROOT, Result, Test, inside, isolated, run, say

SLOWEST = ["--durations=40", "--durations-min=0.5"]
WORKERS_PER_CORE = 2
"""More than one, as tests mostly wait for processes and databases."""
BEDS = ("tests-1", "tests-2", "tests-3")
"""The test beds for the real tests. A fault affects a whole cluster, so each runs one test at a time."""
SPARE_BED = "tests-again"


def main() -> int:
    """Run the tiers; returns 0 if nothing failed, or everything that failed then passed alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiers", description="Run the tests of every tier.")
    parser.add_argument("--soak", action="store_true", help="run only the tests that take minutes")
    options = ["--soak"] if parser.parse_args().soak else []
    began = datetime.now(UTC)
    if can_install():
        packages.install(ROOT / "tests" / "packages.txt")
    if reason := why_not_real():
        results = [run_not_real(options)]
        say(f"real: not run: {reason}")
    else:
        packages.install()
        with building_in_background() as builds:
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
    """The result of `act`, or the failure of a test bed or build, so that other results are reported anyway."""
    try:
        return act()
    except TestbedError as error:
        return Result(name, broken=str(error))


def finished(build: Future[None]) -> Result:
    """Wait for a build; raises its error."""
    build.result()
    return Result("programs")


def report(counts: dict[str, int], verdict: flaky.Verdict, broken: list[str]) -> None:
    """Print failures, the output of flaky tests, and finally the counts."""
    for first, alone in verdict.flaky:
        say(flaky.describe(first, alone))
    for line in (*broken, *(f"FAILED {test.name}" for test in verdict.failed), verdict.explanation):
        if line:
            say(line)
    for first, _ in verdict.flaky:
        say(f"FLAKY {first.name}")
    say(f"{counts['flaky']} flaky: failed once, then passed alone (see docs/testing.md)")
    say(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")


def can_install() -> bool:
    """Whether this is root on Debian."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def why_not_real() -> str:
    """Why the test beds cannot run on this machine; empty if they can."""
    if os.geteuid() != 0:
        return "the test bed starts containers and needs root"
    if shutil.which("go") is None:
        return "the test bed's Kubernetes is built with Go, which is not installed"
    if not can_install():
        return "the test bed needs Debian packages, and this is not Debian"
    return ""


@contextmanager
def building_in_background() -> Iterator[tuple[Future[object], Future[None]]]:
    """Build in the background the programs of every test bed, and then those of some tests."""
    binaries.reserve_extras()
    with ThreadPoolExecutor(1) as builder:
        yield builder.submit(images.build_all), builder.submit(binaries.build_extras)


def run_not_real(options: Sequence[str]) -> Result:
    """Run unit, services and local; on several workers if each can have its own network namespace."""
    worker = isolated()
    if not worker:
        say("running one test at a time: tests use fixed ports, and this machine does not allow network namespaces")
    count = WORKERS_PER_CORE * (os.cpu_count() or 1)
    return run(
        "unit, services, local", ["-m", "not real", "-q", *SLOWEST, *options], [worker] * count if worker else []
    )


def run_real(images_built: Future[object], options: Sequence[str]) -> Result:
    """Start the test beds once their programs are built, and run the real tests inside their namespaces."""
    images_built.result()
    with ExitStack() as stack, ThreadPoolExecutor(len(BEDS)) as pool:
        beds = [Testbed(Instance(name)) for name in BEDS]
        for bed in beds:
            bed.down()  # a killed run may have left faults
            stack.callback(bed.down)
        list(pool.map(Testbed.up, beds))
        say("\n".join(explanation()))
        return run("real", ["-m", "real", "-v", *SLOWEST, *options], [inside(bed.instance) for bed in beds])


def run_alone(test: Test, options: Sequence[str]) -> Result:
    """Run one test by itself; a real one on a new test bed."""
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
