"""From a real process to its outcome: launcher, local cluster, collector."""

import pytest

from kubeprobe.store import RunLog, Store
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import FAIL, GIVE_UP, PASS, Environment, LocalThread


@pytest.mark.parametrize(
    ("script", "case", "verdict", "reason"),
    [
        (PASS, "shell", Verdict.PASS, Reason.PASSED),
        (FAIL, "shell", Verdict.FAIL, Reason.REPORTED_FAILURE),
        (GIVE_UP, "shell", Verdict.UNKNOWN, Reason.PROBE_GAVE_UP),
        ("exit 0", "shell", Verdict.UNKNOWN, Reason.REPORT_MISSING),
        ("kill -9 $$", "shell", Verdict.UNKNOWN, Reason.REPORT_MISSING),
        ("echo nonsense > $KUBEPROBE_REPORT_FILE", "shell", Verdict.UNKNOWN, Reason.REPORT_GARBLED),
        ("tail /dev/zero", "small", Verdict.UNKNOWN, Reason.OOM_KILLED),
        ("sleep 60", "impatient", Verdict.UNKNOWN, Reason.RUN_DEADLINE),
        (PASS, "no-image", Verdict.UNKNOWN, Reason.IMAGE_NOT_PULLED),
        (PASS, "throttled", Verdict.UNKNOWN, Reason.IMAGE_NOT_PULLED),
    ],
)
def test_each_end_of_a_probe_has_its_outcome_and_its_pod_is_deleted(
    env: Environment, script: str, case: str, verdict: Verdict, reason: Reason
) -> None:
    env.collect()
    run_id = env.start(script, case)
    outcome = env.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (verdict, reason), outcome.message
    assert env.run(run_id).state == RunState.DONE
    env.wait_until_no_pod_is_left()
    assert env.queue.responders_woken >= 1


def test_a_pod_is_deleted_only_after_its_outcome_is_committed(env: Environment) -> None:
    run_id = env.start(FAIL)
    env.wait_until_ended(run_id)
    assert [pod["metadata"]["uid"] for pod in env.pods()] == [env.run(run_id).pod_uid]
    env.collect()
    env.wait_until_no_pod_is_left()
    assert env.verdicts() == {run_id: Reason.REPORTED_FAILURE}


def test_the_log_of_a_run_that_did_not_pass_is_stored(env: Environment) -> None:
    env.collect()
    passed, failed = env.start("echo fine; " + PASS), env.start(FAIL)
    assert env.log(failed) == "the log of a failure\n"
    env.outcome(passed)
    env.wait_until_no_pod_is_left()
    assert env.find(RunLog, passed) is None


def test_a_log_with_nul_does_not_keep_its_pod_from_being_deleted(
    store: Store, local: LocalThread, make_environment: MakeEnvironment
) -> None:
    env = make_environment(store, local)
    env.collect()
    run_id = env.start(r"printf 'a\000b\377c\n'; " + FAIL)
    assert env.log(run_id).startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\n")
    env.wait_until_no_pod_is_left()


@pytest.mark.parametrize("grace_s", [0, 1])
def test_a_pod_that_is_deleted_while_it_runs_is_unknown(env: Environment, grace_s: int) -> None:
    env.collect()
    run_id = env.start("sleep 60")
    env.delete(env.wait_until_running(run_id), grace_s)
    outcome = env.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.POD_DELETED)
    env.wait_until_no_pod_is_left()
