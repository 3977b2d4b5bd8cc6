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
def test_the_worst_verdict_is_fail_before_unknown_before_pass_once_all_are_there(
    verdicts: list[str | None], expected: Verdict | None
) -> None:
    assert worst(verdicts) == expected


@pytest.mark.parametrize("reason", Reason)
def test_only_runs_that_never_took_place_are_no_answer(reason: Reason) -> None:
    never = {"StillRunning", "Replaced", "Cordoned", "CaseRemoved", "ClusterRemoved", "NodeGone"}
    assert is_counted(reason) == (reason not in never)
