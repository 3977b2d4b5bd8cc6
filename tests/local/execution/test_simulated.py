"""Caps and retries, with simulated pods."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from kubeprobe import vocabulary
from kubeprobe.catalog.render import pod_name
from kubeprobe.localcluster import Script
from kubeprobe.store import Store
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import Environment, LocalThread

Simulated = Callable[[Script], LocalThread]
FOR_EVER = Script(after=3600)
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "containerStatuses": []}
PASSED = {
    "phase": "Succeeded",
    "containerStatuses": [
        {"name": "probe", "state": {"terminated": {"exitCode": 0, "message": '{"ok": true}', "reason": "Completed"}}}
    ],
}


@pytest.fixture
def play(make_environment: MakeEnvironment, sqlite: Store, simulated: Simulated) -> Callable[..., Environment]:
    """An environment with a collector and simulated pods."""

    def start(script: Script, **cluster: Any) -> Environment:
        env = make_environment(sqlite, simulated(script), context="c0001", **cluster)
        env.collect()
        return env

    return start


def test_held_runs_are_launched_as_others_end(play: Callable[..., Environment]) -> None:
    """Without beat: the collector wakes held runs itself."""
    env = play(Script(after=0), max_in_flight=5)
    runs = [env.open() for _ in range(60)]
    env.wake(runs)
    until("all outcomes", lambda: len(env.verdicts()) == 60, 120, instead=lambda: len(env.verdicts()))
    env.wait_until_no_pod_is_left()


def test_no_more_pods_than_the_cap_run_at_a_time(play: Callable[..., Environment]) -> None:
    env = play(FOR_EVER, max_in_flight=3)
    runs = [env.open() for _ in range(10)]
    env.wake(runs)
    until("three runs", lambda: sum(env.run(i).state == RunState.RUNNING for i in runs) == 3)

    def waiting() -> int:
        return sum(env.run(i).state == RunState.PENDING for i in runs)

    while left := waiting():
        running = [pod for pod in env.pods() if pod["status"].get("phase") == "Running"]
        env.set_status(running[0], **PASSED)
        until("another run", partial(lambda left: waiting() < left, left))
        assert sum(env.run(i).state in {RunState.LAUNCHING, RunState.RUNNING} for i in runs) <= 3


def test_an_evicted_run_is_retried_and_has_one_outcome(play: Callable[..., Environment]) -> None:
    env = play(FOR_EVER)
    run_id = env.start(case="retried")
    env.set_status(env.wait_until_running(run_id), **EVICTED)
    until("the second attempt", lambda: env.run(run_id).attempt == 2)
    until("the first pod to be gone", lambda: not env.pods())
    env.resend()
    second = env.wait_until_running(run_id)
    assert second["metadata"]["name"] == pod_name("retried", run_id, 2)
    assert second["metadata"]["labels"][vocabulary.LABEL_ATTEMPT] == "2"
    env.set_status(second, **PASSED)
    assert env.outcome(run_id).verdict == Verdict.PASS
    env.wait_until_no_pod_is_left()
    assert env.verdicts() == {run_id: Reason.PASSED}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(after=0, evicted=True), Reason.EVICTED),
        (Script(after=0, preempted=True), Reason.PREEMPTED),
        (Script(after=0, nodeLost=True), Reason.NODE_LOST),
    ],
    ids=["evicted", "preempted", "node lost"],
)
def test_a_run_that_is_evicted_each_time_is_unknown_after_its_last_attempt(
    play: Callable[..., Environment], script: Script, reason: Reason
) -> None:
    env = play(script)
    run_id = env.start(case="retried")

    def ended() -> bool:
        env.resend()
        return bool(env.verdicts())

    until("the outcome", ended)
    outcome = env.outcome(run_id)
    assert (outcome.verdict, outcome.reason, env.run(run_id).attempt) == (Verdict.UNKNOWN, reason, 3)


def test_a_run_whose_pod_is_deleted_is_unknown_and_not_retried(play: Callable[..., Environment]) -> None:
    env = play(Script(after=0, vanish=True))
    run_id = env.start(case="retried")
    assert env.outcome(run_id).reason == Reason.POD_DELETED
    assert env.run(run_id).attempt == 1
