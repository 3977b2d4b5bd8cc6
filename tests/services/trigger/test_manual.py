"""Manual runs: a request opens its runs once, and an invalid one is rejected."""

from datetime import datetime

import pytest

from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.runs import OpenedRun
from kubeprobe.settings import Settings
from kubeprobe.trigger import RunRequest, request_runs
from kubeprobe.vocabulary import RunState, Trigger
from tests.services.trigger.given import CASE, World, at_once, catalog


def opened_by(world: World, request: RunRequest, settings: Settings) -> list[OpenedRun]:
    """The runs that a request opens."""
    with world.store.writing() as session:
        return request_runs(session, catalog(), request, world.noon, settings)


def test_a_request_opens_a_run_at_once(world: World, now: datetime, settings: Settings) -> None:
    [opened] = opened_by(world, RunRequest(CASE, ("prod-1",), parameters={"READY_TIMEOUT": "5"}), settings)
    [run] = world.runs
    assert (run.id, run.state, run.trigger) == (opened.id, RunState.PENDING, Trigger.MANUAL)
    assert (run.due_at, run.launch_at, run.wake_at) == (now, now, now + settings.resend_after)
    assert run.parameters == {"READY_TIMEOUT": "5"}


def test_a_repeated_id_opens_no_new_runs(world: World, settings: Settings) -> None:
    request = RunRequest(CASE, ("prod-1",), id="a-task-of-celery")
    opened = at_once(4, lambda _: opened_by(world, request, settings))
    assert sorted(len(part) for part in opened) == [0, 0, 0, 1]
    assert len(world.runs) == 1


def test_a_request_without_an_id_is_new_each_time(world: World, settings: Settings) -> None:
    for _ in range(2):
        opened_by(world, RunRequest(CASE, ("prod-1",)), settings)
    assert len(world.runs) == 2


def test_a_cluster_that_is_named_twice_and_selected_runs_once(world: World, settings: Settings) -> None:
    world.cluster("prod-2", region="eu")
    opened = opened_by(world, RunRequest(CASE, ("prod-1", "prod-1"), selector="region=eu"), settings)
    assert sorted(run.cluster for run in opened) == ["prod-1", "prod-2"]
    assert len(opened_by(world, RunRequest(CASE, ("prod-1", "prod-1")), settings)) == 1


def test_a_selector_leaves_cordoned_clusters_out(world: World, now: datetime, settings: Settings) -> None:
    world.cluster("prod-2", region="eu", cordoned_at=now)
    world.cluster("prod-3", region="us")
    assert [run.cluster for run in opened_by(world, RunRequest(CASE, selector="region=eu"), settings)] == ["prod-1"]


def test_one_request_may_name_thousands_of_clusters(world: World, settings: Settings) -> None:
    names = [f"c{i:05}" for i in range(5000)]
    world.cluster(*names, fleet="yes")
    assert len(opened_by(world, RunRequest(CASE, selector="fleet"), settings)) == 5000
    assert [run.cluster for run in world.runs] == names


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (RunRequest("pod-lifecylce", ("prod-1",)), NotFoundError, "Did you mean 'pod-lifecycle'?"),
        (RunRequest(CASE, ("prod-1", "prod-l")), NotFoundError, "Did you mean 'prod-1'?"),
        (RunRequest(CASE), InvalidInputError, "No cluster is given"),
        (RunRequest(CASE, ("edge-9",)), InvalidInputError, "Cordoned, so no case runs there: edge-9"),
        (RunRequest(CASE, selector="region=nowhere"), NotFoundError, "No cluster matches 'region=nowhere'; cordoned"),
        (RunRequest(CASE, selector="region=("), InvalidInputError, "region"),
        (RunRequest(CASE, ("prod-1",), id="x" * 101), InvalidInputError, "at most 100"),
        (RunRequest(CASE, ("prod-1",), id="a\0"), InvalidInputError, "is not printable"),
    ],
)
def test_an_invalid_request_is_rejected_and_opens_no_runs(
    world: World, now: datetime, settings: Settings, request_: RunRequest, error: type[Exception], message: str
) -> None:
    world.cluster("edge-9", cordoned_at=now, tier="far")
    with pytest.raises(error) as caught:
        opened_by(world, request_, settings)
    assert message in str(caught.value)
    assert world.runs == []
