"""Failure modes 2, 11 and 17: pods that outlive their deadline, their log or their probe."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubeprobe.catalog import render
from kubeprobe.execution.collect.watch import LOGS_AT_A_TIME
from kubeprobe.execution.remove import remove_pods
from kubeprobe.localcluster.kubelet.kubelet import Kubelet
from kubeprobe.runs import expire
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.environment import FAIL, PASS, Environment
from tests.local.failuremodes.given import BRIEF, SIDECAR, add_case, phase


def test_no_pod_remains_after_its_deadline_without_a_collector(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failure mode 2: the kubelet ends the probe, beat the run, and a launcher removes the pod."""
    monkeypatch.setattr(render, "BACKSTOP_S", 0)
    add_case(env, "brief", timeouts=BRIEF)
    run_id = env.start("sleep 600", "brief")
    until("the kubelet to end the pod", lambda: phase(env, run_id) == ("Failed", "DeadlineExceeded"))
    expired = expire(env.store, env.run(run_id).expires_at)
    assert [run.id for run in expired.with_pods] == [run_id]
    assert (env.outcome(run_id).verdict, env.outcome(run_id).reason) == (Verdict.UNKNOWN, Reason.LOST)
    remove_pods(env.launcher, "local", [run_id])
    env.wait_until_no_pod_is_left()


def test_logs_that_hang_hold_up_neither_verdicts_nor_the_deletion_of_other_pods(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failure mode 11: more logs hang than are read at a time."""
    calls: list[Any] = []
    never = asyncio.Event()

    async def hang(*args: Any) -> AsyncIterator[bytes]:
        calls.append(args)
        await never.wait()
        yield b""

    monkeypatch.setattr("kubeprobe.execution.logs.READ_WITHIN_S", 1000.0)
    monkeypatch.setattr("kubeprobe.fleet.transport.REQUEST_TIMEOUT_S", 1000.0)
    monkeypatch.setattr(Kubelet, "read_log", hang)
    env.collect()
    failed = [env.start(FAIL) for _ in range(LOGS_AT_A_TIME + 2)]
    assert {env.outcome(run_id).verdict for run_id in failed} == {Verdict.FAIL}
    until("logs that hang", lambda: len(calls) >= LOGS_AT_A_TIME)
    passed = env.start(PASS)
    assert env.outcome(passed).verdict == Verdict.PASS
    until("the pod that passed to be deleted", lambda: phase(env, passed) == ("", ""))
    assert len(env.pods()) == len(failed), "their logs are still being read"


def test_a_sidecar_that_never_ends_is_ignored(env: Environment) -> None:
    """Failure mode 17."""
    add_case(env, "with-sidecar", pod={"containers": [SIDECAR]})
    env.collect()
    passed, failed = env.start(PASS, "with-sidecar"), env.start(FAIL, "with-sidecar")
    assert env.outcome(passed).verdict == Verdict.PASS
    assert env.outcome(failed).verdict == Verdict.FAIL
    env.wait_until_no_pod_is_left()
