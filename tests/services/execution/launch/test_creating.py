"""Creating pods: one for each run of a batch, or an earlier one that is adopted; none for what may not run."""

from datetime import datetime, timedelta

import pytest

from kubeprobe import vocabulary
from kubeprobe.catalog.render import pod_name
from kubeprobe.execution.launch import Launcher
from kubeprobe.runs import resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import CatalogVersion, Cluster, ProbeTemplate, Run
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.apiserver import OddApi, Refusal
from tests.services.execution.conftest import INSTALLATION
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.execution.launch.given import RUN, ids, launch
from tests.services.trigger.given import CASE, at_once, statements

QUOTA = Refusal(403, "Forbidden", 'pods "kp" is forbidden: exceeded quota: q, requested: pods=1, used: pods=9')
SILENT = Refusal(500, silent=True)


def test_a_run_gets_its_pod(world: ExecutionWorld, launcher: Launcher, api: OddApi, now: datetime) -> None:
    assert not launch(launcher, world), "nothing ended, so nobody is to be woken"
    [pod] = api.pods.values()
    labels = pod["metadata"]["labels"]
    assert (labels[vocabulary.LABEL_RUN], labels[vocabulary.LABEL_INSTALLATION]) == (RUN, INSTALLATION)
    run = world.find(RUN)
    assert (run.state, run.pod, run.pod_uid) == (RunState.RUNNING, pod["metadata"]["name"], pod["metadata"]["uid"])
    deadline = now + timedelta(seconds=pod["spec"]["activeDeadlineSeconds"])
    assert run.created_at == now
    assert run.expires_at == deadline + launcher.settings.lost_after


def test_a_batch_costs_one_request_for_each_pod_and_few_statements(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    launch(launcher, world, "01hrunwarm0000000000000000")  # the catalog is loaded once
    costs = []
    world.change(Cluster, max_in_flight=100)
    for count in (1, 40):
        batch = [f"{count:02}hrun{i:020}" for i in range(count)]
        world.run(*batch, cluster="there")
        api.requests.clear()
        with statements(world.store) as seen:
            launcher.launch("there", batch)
        costs.append(len(seen))
        assert len(api.requests) == count
    assert costs == [3, 3]


def test_a_message_that_is_delivered_twice_creates_one_pod(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    world.run(RUN, cluster="there", expires_at=world.noon + timedelta(minutes=10))
    at_once(4, lambda _: launcher.launch("there", [RUN]))
    assert len(api.pods) == 1
    assert [method for method, _ in api.requests] == ["POST"]


@pytest.mark.parametrize(
    "answer", [SILENT, Refusal(504, "Timeout", "no answer in time")], ids=["connection broken", "time-out"]
)
def test_a_pod_whose_creation_succeeded_despite_an_error_is_adopted(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, settings: Settings, answer: Refusal
) -> None:
    api.refuse(Refusal(answer.status, answer.reason, answer.message, stored=True, silent=answer.silent))
    launch(launcher, world)
    assert world.find(RUN).state == RunState.PENDING
    clock.now = max(world.find(RUN).launch_at, world.find_cluster("there").open_until or clock.now)
    launch(launcher, world)
    [pod] = api.pods.values()
    assert (world.find(RUN).state, world.find(RUN).pod_uid) == (RunState.RUNNING, pod["metadata"]["uid"])
    assert not world.outcomes


def test_the_pod_of_a_launcher_that_died_is_adopted_by_the_next(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, settings: Settings
) -> None:
    launch(launcher, world)
    died = {"state": RunState.LAUNCHING, "pod": None, "pod_uid": None, "wake_at": clock() + settings.claim_timeout}
    world.change(Run, **died)
    clock.move(settings.claim_timeout.total_seconds())
    assert [run.id for run in resend_overdue(world.store, clock(), settings)] == [RUN]
    launch(launcher, world)
    [pod] = api.pods.values()
    assert world.find(RUN).pod_uid == pod["metadata"]["uid"]


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {vocabulary.LABEL_RUN: RUN},
        {vocabulary.LABEL_RUN: RUN, vocabulary.LABEL_INSTALLATION: "another"},
        {vocabulary.LABEL_RUN: "another", vocabulary.LABEL_INSTALLATION: INSTALLATION},
    ],
    ids=["no labels", "no installation", "another installation", "another run"],
)
def test_another_pod_of_the_same_name_is_not_adopted(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, labels: dict[str, str]
) -> None:
    stranger = api.put(pod_name(CASE, RUN), **labels)
    assert launch(launcher, world)
    assert world.verdicts == {RUN: (Verdict.UNKNOWN, Reason.NAME_TAKEN)}
    assert api.pods == {pod_name(CASE, RUN): stranger}
    assert "not of this run" in world.outcomes[0].message


def test_our_pod_is_adopted_even_if_the_labels_of_its_template_have_changed(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    launch(launcher, world)
    [name] = api.pods
    world.change(ProbeTemplate, spec={"image": "docker.io/kubeprobe/busybox:dev", "labels": {"team": "another"}})
    world.change(CatalogVersion, version=2)
    world.change(Run, state=RunState.PENDING, pod=None, pod_uid=None)
    launch(launcher, world)
    assert (world.find(RUN).state, world.find(RUN).pod, world.verdicts) == (RunState.RUNNING, name, {})


def test_runs_beyond_the_cap_are_held(world: ExecutionWorld, launcher: Launcher, api: OddApi) -> None:
    world.change(Cluster, max_in_flight=3)
    launch(launcher, world, *ids(5))
    assert len(api.pods) == 3
    assert [run.held for run in world.runs] == [False, False, False, True, True]


def test_runs_for_a_cordoned_cluster_are_unknown_at_once(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, now: datetime
) -> None:
    world.change(Cluster, cordoned_at=now, cordon_reason="new disks")
    assert launch(launcher, world)
    assert world.verdicts == {RUN: (Verdict.UNKNOWN, Reason.CORDONED)}
    assert "new disks" in world.outcomes[0].message
    assert api.requests == []


def test_runs_for_a_removed_cluster_are_unknown_at_once(world: ExecutionWorld, launcher: Launcher) -> None:
    assert launch(launcher, world, cluster="removed")
    assert world.verdicts == {RUN: (Verdict.UNKNOWN, Reason.CLUSTER_REMOVED)}


@pytest.mark.parametrize("state", [RunState.LAUNCHING, RunState.RUNNING])
def test_a_late_message_for_a_cordoned_cluster_does_not_end_a_run_with_a_pod(
    world: ExecutionWorld, launcher: Launcher, now: datetime, state: RunState
) -> None:
    world.run(RUN, cluster="there", state=state)
    world.change(Cluster, cordoned_at=now)
    launch(launcher, world)
    assert (world.states(), world.outcomes) == ({RUN: state}, [])


def test_a_run_that_ended_before_its_creation_was_recorded_stays_done(
    world: ExecutionWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    _meanwhile(launcher, monkeypatch, lambda: world.end(RUN))
    launch(launcher, world)
    assert world.states() == {RUN: RunState.DONE}


def test_a_slow_launcher_does_not_record_its_pod_for_the_next_attempt(
    world: ExecutionWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pod was evicted, and another launcher creates that of the second attempt."""
    next_attempt = {"attempt": 2, "state": RunState.LAUNCHING}
    _meanwhile(launcher, monkeypatch, lambda: world.change(Run, **next_attempt))
    launch(launcher, world)
    run = world.find(RUN)
    assert (run.state, run.attempt, run.pod) == (RunState.LAUNCHING, 2, None)


def test_a_slow_launcher_does_not_put_off_the_next_attempt(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_attempt = {"attempt": 2, "state": RunState.LAUNCHING}
    _meanwhile(launcher, monkeypatch, lambda: world.change(Run, **next_attempt))
    api.refuse(QUOTA)
    launch(launcher, world)
    assert world.states() == {RUN: RunState.LAUNCHING}


def _meanwhile(launcher: Launcher, monkeypatch: pytest.MonkeyPatch, happens: object) -> None:
    """Run something between the launcher's requests and the recording of their results."""
    run = launcher.loop.run

    def and_then(coroutine: object) -> object:
        found = run(coroutine)  # type: ignore[arg-type, var-annotated]
        happens()  # type: ignore[operator]
        return found

    monkeypatch.setattr(launcher.loop, "run", and_then)
