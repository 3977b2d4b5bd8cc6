"""Tests that failed and pass when run once more, alone: faults to be found, but no reason to lose an hour's run.

Only tiers with real processes on a busy machine get this second chance, and only few tests at a time: a suite in which
many fail, or in which one fails that depends on no machine, is broken. Nothing else is ever run again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.tiers.pytests import Result, Test

MOST = 3
"""More failures than this are not looked into: with so many, the run has failed whatever they do alone."""
RUN_AGAIN = frozenset({"local", "real"})
"""Tiers whose tests run real processes."""

RunAlone = Callable[[Test], Result]
"""Runs one test by itself, a real one on a fresh test bed."""


@dataclass
class Verdict:
    """What the failures of a run come to."""

    failed: list[Test] = field(default_factory=list)
    """These failed, and count."""
    flaky: list[tuple[Test, Test]] = field(default_factory=list)
    """These failed and then passed alone: both runs of each."""
    explanation: str = ""
    """Why failures were not run again; empty if they were, or if there were none."""


def judge(tests: Sequence[Test], run_alone: RunAlone) -> Verdict:
    """Run what failed once more, if that may change anything."""
    failed = [test for test in tests if test.outcome == "failed"]
    strict = sorted({test.tier for test in failed} - RUN_AGAIN)
    if strict:
        return Verdict(failed, explanation=f"not run again: a failure in {' and '.join(strict)} always counts")
    if len(failed) > MOST:
        return Verdict(failed, explanation=f"not run again: more than {MOST} failed")
    verdict = Verdict()
    for test in failed:
        again = next((one for one in run_alone(test).tests if one.name == test.name), None)
        if again is not None and again.outcome == "passed":
            verdict.flaky.append((test, again))
        else:
            verdict.failed.append(test)
    return verdict


def describe(first: Test, alone: Test) -> str:
    """A flaky test's two runs, as text for whoever looks for the fault."""
    runs = ((first, "failed in the run of all"), (alone, "passed alone"))
    parts = [f"--- {what}, {test.seconds:.1f} s ---\n{test.output or '(no output)'}" for test, what in runs]
    return "\n".join([f"FLAKY {first.name}", *parts])
