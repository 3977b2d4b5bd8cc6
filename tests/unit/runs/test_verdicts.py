"""The arithmetic of verdicts."""

import pytest

from kubeprobe.runs import is_counted, worst
from kubeprobe.vocabulary import Reason, Verdict


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "unknown", "fail"], Verdict.FAIL),
        (["pass", "unknown"], Verdict.UNKNOWN),
        (["pass", "pass"], Verdict.PASS),
        (["fail", None], None),
        ([], None),
    ],
)
def test_the_worst_verdict_is_fail_then_unknown_then_pass_and_none_while_one_is_missing(
    verdicts: list[str | None], expected: Verdict | None
) -> None:
    assert worst(verdicts) == expected


@pytest.mark.parametrize("reason", Reason)
def test_only_runs_that_never_took_place_are_not_counted(reason: Reason) -> None:
    never = {"StillRunning", "Replaced", "Cordoned", "CaseRemoved", "ClusterRemoved", "NodeGone"}
    assert is_counted(reason) == (reason not in never)
