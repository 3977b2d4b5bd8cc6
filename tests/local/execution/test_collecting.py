"""Collectors that come late, go, are many, or lose their place: no end of a pod is lost, none counts twice."""

import threading
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from kubeprobe import vocabulary
from kubeprobe.clock import utc_now
from kubeprobe.execution.collect import watch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.judge import judge
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.localcluster import Script
from kubeprobe.runs import expire
from kubeprobe.store import Cluster, Outcome, Store
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeRooms
from tests.local.execution.rooms import FAIL, PASS, LocalThread, Rooms, RunningCollector


def test_pods_that_ended_before_their_collector_came_are_judged(rooms: Rooms) -> None:
    passed, failed = rooms.start(PASS), rooms.start(FAIL)
    rooms.wait_until_ended(passed, failed)
    rooms.collect()
    assert rooms.outcome(passed).verdict == Verdict.PASS
    assert rooms.outcome(failed).verdict == Verdict.FAIL
    rooms.wait_until_no_pod_is_left()


def test_a_collector_that_is_replaced_in_the_middle_loses_no_end(rooms: Rooms) -> None:
    rooms.collect("one")
    runs = [rooms.start(rooms.at_the_gate + script) for script in (PASS, FAIL) * 5]
    deleted = rooms.start("sleep 60")
    pod = rooms.wait_until_running(deleted)
    rooms.stop_collecting("one")
    rooms.delete(pod, grace_s=0)
    rooms.open_the_gate()
    rooms.wait_until_ended(*runs)
    rooms.collect("two")
    found = [rooms.outcome(run_id).verdict for run_id in runs]
    assert found == [Verdict.PASS, Verdict.FAIL] * 5
    assert rooms.outcome(deleted).reason == Reason.POD_DELETED
    rooms.wait_until_no_pod_is_left()


def test_two_collectors_on_one_cluster_store_one_outcome_for_each_run(rooms: Rooms) -> None:
    rooms.collect()
    twin = RunningCollector("one", rooms)  # of the same name: both believe that the lease is theirs
    try:
        runs = [rooms.start(rooms.at_the_gate + script) for script in (PASS, FAIL) * 5]
        rooms.open_the_gate()
        assert [rooms.outcome(run_id).verdict for run_id in runs] == [Verdict.PASS, Verdict.FAIL] * 5
        rooms.wait_until_no_pod_is_left()
    finally:
        twin.stop()
    assert len(rooms.verdicts()) == 10


def test_a_watch_that_is_too_old_lists_again_and_loses_nothing(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, rewind = _short_watches(monkeypatch)
    rooms.collect()
    runs = [rooms.start(PASS), rooms.start("sleep 1; " + PASS), rooms.start("sleep 2; " + FAIL)]
    rooms.outcome(runs[0])
    rooms.local.compact()
    rewind.set()
    until("a watch that got 410", lambda: gone)
    assert [rooms.outcome(run_id).verdict for run_id in runs] == [Verdict.PASS, Verdict.PASS, Verdict.FAIL]
    rooms.wait_until_no_pod_is_left()


def test_the_leftover_pod_of_a_run_that_has_its_outcome_is_deleted(rooms: Rooms) -> None:
    run_id = rooms.start("sleep 60")
    rooms.end(run_id, Reason.REPLACED)
    rooms.collect()
    rooms.wait_until_no_pod_is_left()
    assert rooms.verdicts() == {run_id: Reason.REPLACED}


def test_a_run_whose_pod_vanished_while_nobody_watched_is_unknown(rooms: Rooms) -> None:
    run_id = rooms.start("sleep 60")
    rooms.delete(rooms.wait_until_running(run_id), grace_s=0)
    rooms.wait_until_no_pod_is_left()
    rooms.collect()
    outcome = rooms.outcome(run_id)
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
def test_a_strangers_pod_is_left_alone(rooms: Rooms, labels: dict[str, str]) -> None:
    ours = {key: value.replace("OURS", rooms.installation) for key, value in labels.items()}
    stranger = rooms.create({**ours, "stranger": "yes"}, "exit 1")
    rooms.collect()
    run_id = rooms.start(PASS)
    rooms.outcome(run_id)
    until("our own pod to be gone", lambda: len(rooms.pods(**{vocabulary.LABEL_RUN: run_id})) == 0)
    [left] = rooms.pods(stranger="yes")
    assert left["metadata"]["uid"] == stranger["metadata"]["uid"]
    rooms.delete(left, grace_s=0)


def test_a_pod_that_nobody_can_make_sense_of_does_not_end_its_watch(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = rooms.start("sleep 60")

    def judge_or_fall(pod: dict[str, Any], *args: Any, **more: Any) -> Any:
        if pod["metadata"]["labels"][vocabulary.LABEL_RUN] == odd:
            raise KeyError("containerStatuses")
        return judge(pod, *args, **more)

    monkeypatch.setattr(watch, "judge", judge_or_fall)
    rooms.collect()
    assert rooms.outcome(rooms.start(PASS)).verdict == Verdict.PASS


def test_a_run_whose_cluster_falls_silent_is_unknown_for_that_reason(
    make_rooms: MakeRooms, sqlite: Store, simulated: Callable[[Script], LocalThread]
) -> None:
    """Nothing is launched there meanwhile, so the collector alone can notice."""
    local = simulated(Script(after=3600))
    rooms = make_rooms(sqlite, local, context="c0001")
    rooms.collect()
    run_id = rooms.start()
    rooms.wait_until_running(run_id)
    local.stop()
    until("the breaker to open", lambda: rooms.find(Cluster, "local").failures)
    expire(rooms.store, rooms.run(run_id).expires_at)
    assert rooms.outcome(run_id).reason == Reason.CLUSTER_UNREACHABLE


def test_a_cluster_that_answers_again_is_launched_on_at_once(rooms: Rooms) -> None:
    with rooms.store.writing() as session:
        cluster = session.get_one(Cluster, "local")
        cluster.failures, cluster.open_until = 9, utc_now() + timedelta(minutes=5)
    rooms.collect()
    until("the breaker to close", lambda: not rooms.find(Cluster, "local").failures)
    assert rooms.outcome(rooms.start(PASS)).verdict == Verdict.PASS


def test_a_watch_that_dies_is_started_anew(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    read, died = PodObservation.read, list[dict[str, Any]]()

    def die_once(pod: dict[str, Any]) -> PodObservation | None:
        if not died:
            died.append(pod)
            raise RuntimeError("nobody has thought of this")
        return read(pod)

    monkeypatch.setattr(PodObservation, "read", die_once)
    rooms.collect()
    assert rooms.outcome(rooms.start(PASS)).verdict == Verdict.PASS
    assert died


def test_a_pod_that_could_not_be_deleted_is_deleted_later(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, refused = ClusterApi.delete_pod, list[Any]()

    async def refuse_once(self: ClusterApi, *args: Any) -> None:
        if not refused:
            refused.append(args)
            raise ClusterError(Cause.SERVER_ERROR, "etcdserver: request timed out")
        await delete(self, *args)

    monkeypatch.setattr(ClusterApi, "delete_pod", refuse_once)
    rooms.collect()
    rooms.outcome(rooms.start(PASS))
    rooms.wait_until_no_pod_is_left()
    assert refused


def test_a_case_of_which_much_runs_ends_with_one_outcome_each(rooms: Rooms) -> None:
    rooms.collect()
    runs = [rooms.open(script) for script in (PASS, FAIL) * 15]
    rooms.wake(runs)
    for number, run_id in enumerate(runs):
        assert rooms.outcome(run_id).verdict == (Verdict.PASS, Verdict.FAIL)[number % 2]
        assert rooms.run(run_id).state == RunState.DONE
    rooms.wait_until_no_pod_is_left()
    with rooms.store.reading() as session:
        assert len(session.exec(select(col(Outcome.run_id))).all()) == 30


def _short_watches(monkeypatch: pytest.MonkeyPatch) -> tuple[list[ClusterError], threading.Event]:
    """Have the server end each watch after a second; once the event is set, the next goes on where the first began.

    So it is where no bookmark came meanwhile. What watches broke of with 410 is remembered.
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
