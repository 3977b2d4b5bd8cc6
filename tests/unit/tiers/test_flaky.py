"""Which failures are run again, and the resulting assessment."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.tiers import flaky, summary
from tests.tiers.pytests import Outcome, Result, Test


def failure(name: str, tier: str = "local") -> Test:
    return Test(name, tier, "failed", 1.5, "Traceback: in the full run")


def alone(outcome: Outcome) -> Callable[[Test], Result]:
    """Run every test with this outcome."""
    return lambda test: Result("again", [Test(test.name, test.tier, outcome, 0.5, "what it printed alone")])


def never(test: Test) -> Result:
    pytest.fail(f"{test.name} was run again")


def test_a_test_that_passes_alone_is_flaky_and_both_outputs_are_shown() -> None:
    verdict = flaky.judge([failure("a"), Test("b", "unit", "passed")], alone("passed"))
    assert verdict.failed == []
    [(first, again)] = verdict.flaky
    assert flaky.describe(first, again).splitlines() == [
        "FLAKY a",
        "--- failed in the full run, 1.5 s ---",
        "Traceback: in the full run",
        "--- passed alone, 0.5 s ---",
        "what it printed alone",
    ]


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_test_that_does_not_pass_alone_has_failed(outcome: Outcome) -> None:
    verdict = flaky.judge([failure("a")], alone(outcome))
    assert ([test.name for test in verdict.failed], verdict.flaky) == (["a"], [])


def test_a_test_whose_second_run_is_lost_has_failed() -> None:
    assert flaky.judge([failure("a")], lambda _: Result("again")).failed


@pytest.mark.parametrize("tier", ["unit", "services"])
def test_a_failure_in_unit_or_services_always_counts(tier: str) -> None:
    verdict = flaky.judge([failure("a", tier), failure("b", "real")], never)
    assert [test.name for test in verdict.failed] == ["a", "b"]
    assert verdict.explanation == f"not run again: a failure in {tier} always counts"


def test_more_than_three_failures_are_not_run_again() -> None:
    assert len(flaky.judge([failure(name) for name in "abc"], alone("passed")).flaky) == 3
    verdict = flaky.judge([failure(name) for name in "abcd"], never)
    assert len(verdict.failed) == 4
    assert verdict.explanation == "not run again: more than 3 failed"


def test_the_summary_has_commit_counts_and_results(tmp_path: Path) -> None:
    tests = [
        failure("a", "real"),
        failure("b", "local"),
        Test("c", "unit", "passed", 0.1),
        Test("d", "unit", "skipped", 0.0),
    ]
    results = [Result("all", tests, seconds=12.4)]
    verdict = flaky.Verdict(failed=[tests[0]], flaky=[(tests[1], tests[1])])
    file = tmp_path / "new" / "summary.json"
    summary.write(results, verdict, ok=False, began=datetime.now(UTC), file=file)

    found = json.loads(file.read_text())
    assert found["counts"] == {"passed": 2, "failed": 1, "skipped": 1, "flaky": 1}
    assert (found["failed"], found["flaky"], found["ok"]) == (["a"], ["b"], False)
    assert found["tiers"]["unit"] == {"tests": 2, "testSeconds": 0.1}
    assert found["runs"] == {"all": 12}
    assert found["commit"] is None or len(found["commit"]) == 40
