"""Collectors that start late, stop, are several, or lose their watch: each ending counts once."""

import threading
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from kubeprobe import vocabulary
from kubeprobe.clock import utc_now
from kubeprobe.execution.collect import watch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.judge import judge
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.localcluster import Script
from kubeprobe.runs import expire
from kubeprobe.store import Cluster, Outcome, Store
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import FAIL, PASS, Environment, LocalThread, RunningCollector


def test_pods_that_ended_before_the_collector_started_are_judged(env: Environment) -> None:
    passed, failed = env.start(PASS), env.start(FAIL)
    env.wait_until_ended(passed, failed)
    env.collect()
    assert env.outcome(passed).verdict == Verdict.PASS
    assert env.outcome(failed).verdict == Verdict.FAIL
    env.wait_until_no_pod_is_left()


def test_no_ending_is_lost_when_a_collector_is_replaced(env: Environment) -> None:
    env.collect("one")
    runs = [env.start(env.at_the_gate + script) for script in (PASS, FAIL) * 5]
    deleted = env.start("sleep 60")
    pod = env.wait_until_running(deleted)
    env.stop_collecting("one")
    env.delete(pod, grace_s=0)
    env.open_the_gate()
    env.wait_until_ended(*runs)
    env.collect("two")
    found = [env.outcome(run_id).verdict for run_id in runs]
    assert found == [Verdict.PASS, Verdict.FAIL] * 5
    assert env.outcome(deleted).reason == Reason.POD_DELETED
    env.wait_until_no_pod_is_left()


def test_two_collectors_on_one_cluster_store_one_outcome_for_each_run(env: Environment) -> None:
    env.collect()
    twin = RunningCollector("one", env)  # of the same name: both believe that the lease is theirs
    try:
        runs = [env.start(env.at_the_gate + script) for script in (PASS, FAIL) * 5]
        env.open_the_gate()
        assert [env.outcome(run_id).verdict for run_id in runs] == [Verdict.PASS, Verdict.FAIL] * 5
        env.wait_until_no_pod_is_left()
    finally:
        twin.stop()
    assert len(env.verdicts()) == 10


def test_no_ending_is_lost_when_the_version_of_a_watch_expires(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, rewind = _short_watches(monkeypatch)
    env.collect()
    runs = [env.start(PASS), env.start("sleep 1; " + PASS), env.start("sleep 2; " + FAIL)]
    env.outcome(runs[0])
    env.local.compact()
    rewind.set()
    until("a watch that got 410", lambda: gone)
    assert [env.outcome(run_id).verdict for run_id in runs] == [Verdict.PASS, Verdict.PASS, Verdict.FAIL]
    env.wait_until_no_pod_is_left()


def test_a_list_during_which_the_database_is_unavailable_is_repeated(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failed = ClusterWatch._ended_among, list[str]()

    def fail_twice(self: ClusterWatch, pods: list[dict[str, Any]]) -> set[tuple[str, int]]:
        if len(failed) < 2:
            failed.append(self.cluster.name)
            raise OperationalError("SELECT", {}, Exception("unavailable"))
        return read(self, pods)

    monkeypatch.setattr(ClusterWatch, "_ended_among", fail_twice)
    run_id = env.start(PASS)
    env.wait_until_ended(run_id)
    env.collect()
    assert env.outcome(run_id).verdict == Verdict.PASS
    assert failed == ["local", "local"]


def test_the_pod_of_a_run_that_has_its_outcome_is_deleted(env: Environment) -> None:
    run_id = env.start("sleep 60")
    env.end(run_id, Reason.REPLACED)
    env.collect()
    env.wait_until_no_pod_is_left()
    assert env.verdicts() == {run_id: Reason.REPLACED}


def test_a_run_whose_pod_was_deleted_without_a_watch_is_unknown(env: Environment) -> None:
    run_id = env.start("sleep 60")
    env.delete(env.wait_until_running(run_id), grace_s=0)
    env.wait_until_no_pod_is_left()
    env.collect()
    outcome = env.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.POD_DELETED)


@pytest.mark.parametrize(
    "labels",
    [
        {
            vocabulary.LABEL_INSTALLATION: "another",
            vocabulary.LABEL_MANAGED_BY: vocabulary.MANAGED_BY,
            vocabulary.LABEL_RUN: "r1",
        },
        {vocabulary.LABEL_INSTALLATION: "OURS", vocabulary.LABEL_MANAGED_BY: vocabulary.MANAGED_BY},
        {vocabulary.LABEL_INSTALLATION: "OURS", vocabulary.LABEL_RUN: "r1"},
    ],
    ids=["another installation's", "made by hand with our labels", "made by a probe"],
)
def test_other_pods_are_not_touched(env: Environment, labels: dict[str, str]) -> None:
    ours = {key: value.replace("OURS", env.installation) for key, value in labels.items()}
    stranger = env.create({**ours, "stranger": "yes"}, "exit 1")
    env.collect()
    run_id = env.start(PASS)
    env.outcome(run_id)
    until("our own pod to be gone", lambda: len(env.pods(**{vocabulary.LABEL_RUN: run_id})) == 0)
    [left] = env.pods(stranger="yes")
    assert left["metadata"]["uid"] == stranger["metadata"]["uid"]
    env.delete(left, grace_s=0)


def test_a_pod_that_cannot_be_judged_does_not_end_its_watch(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = env.start("sleep 60")

    def judge_or_fall(pod: dict[str, Any], *args: Any, **more: Any) -> Any:
        if pod["metadata"]["labels"][vocabulary.LABEL_RUN] == odd:
            raise KeyError("containerStatuses")
        return judge(pod, *args, **more)

    monkeypatch.setattr(watch, "judge", judge_or_fall)
    env.collect()
    assert env.outcome(env.start(PASS)).verdict == Verdict.PASS


def test_a_run_of_an_unreachable_cluster_is_unknown_for_that_reason(
    make_environment: MakeEnvironment, sqlite: Store, simulated: Callable[[Script], LocalThread]
) -> None:
    """Nothing is launched there meanwhile, so that only the collector can notice it."""
    local = simulated(Script(after=3600))
    env = make_environment(sqlite, local, context="c0001")
    env.collect()
    run_id = env.start()
    env.wait_until_running(run_id)
    local.stop()
    until("the breaker to open", lambda: env.find(Cluster, "local").failures)
    expire(env.store, env.run(run_id).expires_at)
    assert env.outcome(run_id).reason == Reason.CLUSTER_UNREACHABLE


def test_a_reachable_cluster_is_used_at_once_again(env: Environment) -> None:
    with env.store.writing() as session:
        cluster = session.get_one(Cluster, "local")
        cluster.failures, cluster.open_until = 9, utc_now() + timedelta(minutes=5)
    env.collect()
    until("the breaker to close", lambda: not env.find(Cluster, "local").failures)
    assert env.outcome(env.start(PASS)).verdict == Verdict.PASS


def test_what_a_watch_receives_closes_the_breaker_of_a_cluster_at_its_cap(env: Environment) -> None:
    """One creation has timed out; nothing is launched meanwhile, and the watch lasts."""
    env.collect()
    run_id = env.start(env.at_the_gate + PASS)
    env.wait_until_running(run_id)
    with env.store.writing() as session:
        cluster = session.get_one(Cluster, "local")
        cluster.failures, cluster.open_until, cluster.max_in_flight = 1, utc_now(), 1
    pod = env.wait_until_running(run_id)

    def has_closed() -> bool:
        env.set_status(pod, message=str(utc_now()))
        return env.find(Cluster, "local").failures == 0

    until("the breaker to close", has_closed)


@pytest.mark.parametrize("skew_s", [61, 3600, -61, -3600])
def test_a_collectors_clock_does_not_change_verdicts(env: Environment, skew_s: int) -> None:
    env.collect(clock=lambda: utc_now() + timedelta(seconds=skew_s))
    run_id = env.start(env.at_the_gate + PASS)
    env.wait_until_running(run_id)
    impatient = env.start("sleep 60", "impatient")
    assert env.outcome(impatient).reason == Reason.RUN_DEADLINE
    assert run_id not in env.verdicts()
    env.open_the_gate()
    assert env.outcome(run_id).reason == Reason.PASSED


def test_a_failed_watch_is_restarted(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    read, died = PodObservation.read, list[dict[str, Any]]()

    def die_once(pod: dict[str, Any], *args: Any) -> PodObservation | None:
        if not died:
            died.append(pod)
            raise RuntimeError("nobody has thought of this")
        return read(pod, *args)

    monkeypatch.setattr(PodObservation, "read", die_once)
    env.collect()
    assert env.outcome(env.start(PASS)).verdict == Verdict.PASS
    assert died


def test_a_pod_that_could_not_be_deleted_is_deleted_later(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, refused = ClusterApi.delete_pod, list[Any]()

    async def refuse_once(self: ClusterApi, *args: Any) -> None:
        if not refused:
            refused.append(args)
            raise ClusterError(Cause.SERVER_ERROR, "etcdserver: request timed out")
        await delete(self, *args)

    monkeypatch.setattr(ClusterApi, "delete_pod", refuse_once)
    env.collect()
    env.outcome(env.start(PASS))
    env.wait_until_no_pod_is_left()
    assert refused


def test_many_runs_of_a_case_have_one_outcome_each(env: Environment) -> None:
    env.collect()
    runs = [env.open(script) for script in (PASS, FAIL) * 15]
    env.wake(runs)
    for number, run_id in enumerate(runs):
        assert env.outcome(run_id).verdict == (Verdict.PASS, Verdict.FAIL)[number % 2]
        assert env.run(run_id).state == RunState.DONE
    env.wait_until_no_pod_is_left()
    with env.store.reading() as session:
        assert len(session.exec(select(col(Outcome.run_id))).all()) == 30


def _short_watches(monkeypatch: pytest.MonkeyPatch) -> tuple[list[ClusterError], threading.Event]:
    """The server ends each watch after a second; once the event is set, the next starts at the version of the first.

    That simulates a watch without bookmarks. Errors with 410 are recorded.
    """
    follow, gone, versions, rewind = ClusterApi.watch_objects, list[ClusterError](), list[str](), threading.Event()

    async def short(
        self: ClusterApi, path: str, selector: str, version: str
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        versions.append(version)
        if rewind.is_set() and not gone:
            version = versions[0]
        try:
            async for event in follow(self, path, selector, version, silence_s=1.3):
                yield event
        except ClusterError as error:
            if error.cause is Cause.GONE:
                gone.append(error)
            raise

    monkeypatch.setattr(ClusterApi, "watch_objects", short)
    return gone, rewind
