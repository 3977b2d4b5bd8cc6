"""Deleting the pods of runs that ended early, by UID."""

from datetime import datetime, timedelta

import pytest

from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.remove import remove_pods
from kubeprobe.vocabulary import RunState
from tests.harness.ports import free_port
from tests.services.execution.apiserver import OddApi, Refusal
from tests.services.execution.given import ExecutionWorld


def done(world: ExecutionWorld, api: OddApi, run_id: str, cluster: str = "there", **fields: object) -> None:
    """A run that ended while its pod still exists."""
    uid = api.put(f"kp-{run_id}")["metadata"]["uid"]
    known = {"state": RunState.DONE, "pod": f"kp-{run_id}", "pod_uid": uid}
    world.run(run_id, cluster=cluster, **{**known, **fields})


@pytest.fixture
def world(world: ExecutionWorld, api: OddApi) -> ExecutionWorld:
    """The API of the reachable cluster `there`."""
    world.reach("there", api.url)
    return world


def test_pods_of_ended_runs_are_deleted(world: ExecutionWorld, launcher: Launcher, api: OddApi) -> None:
    for run_id in ("r1", "r2", "r3"):
        done(world, api, run_id)
    remove_pods(launcher, "there", ["r1", "r2"])
    assert list(api.pods) == ["kp-r3"]


def test_another_pod_of_the_same_name_stays(world: ExecutionWorld, launcher: Launcher, api: OddApi) -> None:
    done(world, api, "r1")
    stranger = api.put("kp-r1")
    remove_pods(launcher, "there", ["r1"])
    assert api.pods == {"kp-r1": stranger}


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.LAUNCHING, RunState.RUNNING])
def test_the_pod_of_a_run_that_is_open_stays(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, state: RunState
) -> None:
    """Its outcome is not committed (promise 3)."""
    done(world, api, "r1", state=state)
    remove_pods(launcher, "there", ["r1"])
    assert list(api.pods) == ["kp-r1"]


def test_a_pod_that_is_already_deleted_is_not_an_error(world: ExecutionWorld, launcher: Launcher, api: OddApi) -> None:
    for run_id in ("r1", "r2"):
        done(world, api, run_id)
    api.pods.pop("kp-r1")
    remove_pods(launcher, "there", ["r1", "r2"])
    assert api.pods == {}


def test_no_request_is_sent_while_the_breaker_is_open(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, now: datetime
) -> None:
    done(world, api, "r1")
    world.change_cluster("there", failures=1, open_until=now + timedelta(seconds=5))
    remove_pods(launcher, "there", ["r1"])
    assert list(api.pods) == ["kp-r1"]
    world.change_cluster("there", open_until=now)
    remove_pods(launcher, "there", ["r1"])
    assert api.pods == {}


def test_a_pod_that_cannot_be_deleted_does_not_stop_the_others(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    for run_id in ("r1", "r2", "r3"):
        done(world, api, run_id)
    api.refuse(Refusal(500, "InternalError"))
    remove_pods(launcher, "there", ["r1", "r2", "r3"])
    assert len(api.pods) == 1


def test_a_removed_or_unreachable_cluster_is_not_an_error(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, now: datetime
) -> None:
    world.reach("away", f"http://127.0.0.1:{free_port()}")
    done(world, api, "r1", cluster="away")
    remove_pods(launcher, "away", ["r1"])
    remove_pods(launcher, "removed", ["r1"])
    assert list(api.pods) == ["kp-r1"]
