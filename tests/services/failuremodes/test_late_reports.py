"""Failure mode 7: a report of a run that has its outcome changes nothing and is logged."""

from structlog.testing import capture_logs

from kubeprobe.runs import close
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.given import EVICTED, FAILED, PASSED, ExecutionWorld, ending


def test_a_late_report_is_ignored_and_logged(world: ExecutionWorld) -> None:
    world.run("ended", "retried", state=RunState.RUNNING)
    with world.store.writing() as session:
        close(session, [ending("ended", PASSED), ending("retried", EVICTED, retries=1)], world.noon)
    with capture_logs() as logged, world.store.writing() as session:
        assert close(session, [ending("ended", FAILED), ending("retried", FAILED)], world.noon) == []
    assert [entry["runs"] for entry in logged] == [["ended", "retried"]]
    assert world.verdicts == {"ended": (Verdict.PASS, Reason.PASSED)}
    assert (world.find("retried").state, world.find("retried").attempt) == (RunState.PENDING, 2)
