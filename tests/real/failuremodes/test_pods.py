"""Failure modes 2 and 17 with a real kubelet."""

import pytest

from kubeprobe.catalog import render
from kubeprobe.execution.remove import remove_pods
from kubeprobe.runs import expire
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.environment import FAIL, PASS, Environment
from tests.local.failuremodes.given import BRIEF, SIDECAR, add_case, phase

SOON_KILLED = {"terminationGracePeriodSeconds": 2}
"""As process 1, a shell ignores SIGTERM; by default the kubelet would wait for 30 s."""


def test_no_pod_remains_after_its_deadline_without_a_collector(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "BACKSTOP_S", 10)  # the image exists, so that the probe starts within this time
    add_case(env, "brief", pod=SOON_KILLED, timeouts=BRIEF)
    run_id = env.start("trap '' TERM; sleep 600", "brief")
    until("the kubelet to end the pod", lambda: phase(env, run_id) == ("Failed", "DeadlineExceeded"), within_s=90)
    [expired] = expire(env.store, env.run(run_id).expires_at).with_pods
    remove_pods(env.launcher, "local", [expired.id])
    env.wait_until_no_pod_is_left()
    assert env.outcome(run_id).reason == Reason.LOST


def test_a_collector_that_starts_after_the_pods_deadline_reports_it(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "BACKSTOP_S", 10)
    add_case(env, "brief", pod=SOON_KILLED, timeouts=BRIEF)
    run_id = env.start("sleep 600", "brief")
    until("the kubelet to end the pod", lambda: phase(env, run_id)[0] == "Failed", within_s=90)
    env.collect()
    outcome = env.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.RUN_DEADLINE), outcome.message
    env.wait_until_no_pod_is_left()


def test_a_sidecar_that_never_ends_is_ignored(env: Environment) -> None:
    add_case(env, "with-sidecar", pod={"containers": [SIDECAR]})
    env.collect()
    passed, failed = env.start(PASS, "with-sidecar"), env.start(FAIL, "with-sidecar")
    assert env.outcome(passed).verdict == Verdict.PASS
    assert env.outcome(failed).verdict == Verdict.FAIL
    env.wait_until_no_pod_is_left()
