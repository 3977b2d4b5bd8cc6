"""Flaky tests: they failed, and passed when run again alone. They are faults to fix, but do not fail the whole run.

Only tests of tiers with real processes are run again, and only if few fail: many failures, or a failure in another
tier, mean that the code is broken. Nothing else is ever run again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.tiers.pytests import Result, Test

MAX_RERUNS = 3
"""With more failures than this, none is run again, and the run has failed."""
RERUN_TIERS = frozenset({"local", "real"})
"""Tiers whose tests run real processes."""

RunAlone = Callable[[Test], Result]
"""Runs one test by itself, a real one on a new test bed."""


@dataclass
class Verdict:
    """The assessment of a run's failures."""

    failed: list[Test] = field(default_factory=list)
    """Failures that count."""
    flaky: list[tuple[Test, Test]] = field(default_factory=list)
    """Tests that failed and then passed alone: both runs of each."""
    explanation: str = ""
    """Why failures were not run again; empty if they were, or if there were none."""


def judge(tests: Sequence[Test], run_alone: RunAlone) -> Verdict:
    """Run failed tests again, where that is allowed."""
    failed = [test for test in tests if test.outcome == "failed"]
    strict = sorted({test.tier for test in failed} - RERUN_TIERS)
    if strict:
        return Verdict(failed, explanation=f"not run again: a failure in {' and '.join(strict)} always counts")
    if len(failed) > MAX_RERUNS:
        return Verdict(failed, explanation=f"not run again: more than {MAX_RERUNS} failed")
    verdict = Verdict()
    for test in failed:
        again = next((one for one in run_alone(test).tests if one.name == test.name), None)
        if again is not None and again.outcome == "passed":
            verdict.flaky.append((test, again))
        else:
            verdict.failed.append(test)
    return verdict


def describe(first: Test, alone: Test) -> str:
    """Both runs of a flaky test as text, for finding the fault."""
    runs = ((first, "failed in the full run"), (alone, "passed alone"))
    sections = [f"--- {what}, {test.seconds:.1f} s ---\n{test.output or '(no output)'}" for test, what in runs]
    return "\n".join([f"FLAKY {first.name}", *sections])
