"""Launching: the result of a run for each response of a cluster."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select, update

from kubeprobe import vocabulary
from kubeprobe.catalog.render import pod_name
from kubeprobe.catalog.version import increment_version
from kubeprobe.execution import launch as launching
from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet import breaker
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.runs import Claim, claim, lock_cluster, resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Binding, CatalogVersion, Cluster, ProbeCase, ProbeTemplate, RenderConfig, Run
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.harness.ports import free_port
from tests.services.execution.apiserver import OddApi, Refusal
from tests.services.execution.conftest import INSTALLATION
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.trigger.given import CASE, at_once, statements

RUN = "01hrun00000000000000000000"
QUOTA = Refusal(403, "Forbidden", 'pods "kp" is forbidden: exceeded quota: q, requested: pods=1, used: pods=9')
THROTTLED = Refusal(429, "TooManyRequests", "slow down", headers={"Retry-After": "20"})
BROKEN = Refusal(500, "InternalError", "etcdserver: request timed out")
NO_WEBHOOK = Refusal(500, "InternalError", 'failed calling webhook "w": Post "https://w": connection refused')
NAMESPACE_GONE = Refusal(
    403, "Forbidden", "unable to create new content in namespace kubeprobe because it is being terminated"
)
DENIED = Refusal(403, "Forbidden", 'admission webhook "policy.example" denied the request: no latest tags')
RBAC = Refusal(403, "Forbidden", 'pods is forbidden: User "kp" cannot create resource "pods" in API group "" in the ns')
SILENT = Refusal(500, silent=True)


@pytest.fixture
def world(world: ExecutionWorld, api: OddApi) -> ExecutionWorld:
    """The API of the reachable cluster `there`."""
    world.reach("there", api.url)
    return world


def launch(launcher: Launcher, world: ExecutionWorld, *run_ids: str, cluster: str = "there") -> bool:
    """Open these runs, unless they exist, and launch them; returns whether a responder is to be woken."""
    known = world.states()
    if new := [i for i in run_ids or (RUN,) if i not in known]:
        later = world.noon + timedelta(minutes=10)
        world.run(*new, cluster=cluster, expires_at=later, trigger="manual")
    return launcher.launch(cluster, run_ids or (RUN,)).responders == 1


def ids(count: int) -> Sequence[str]:
    return [f"01hrun{i:020}" for i in range(count)]


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


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (DENIED, Reason.ADMISSION_DENIED),
        (RBAC, Reason.PERMISSION_MISSING),
        (NAMESPACE_GONE, Reason.NAMESPACE_TERMINATING),
        (Refusal(401, "Unauthorized"), Reason.CREDENTIALS_REFUSED),
        (Refusal(422, "Invalid", "spec.containers: Required value"), Reason.POD_REFUSED),
        (Refusal(400, "BadRequest", "json: cannot unmarshal"), Reason.POD_REFUSED),
    ],
    ids=lambda found: found if isinstance(found, Reason) else "",
)
def test_a_permanent_error_ends_the_run_at_once(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, refusal: Refusal, reason: Reason
) -> None:
    api.refuse(refusal, refusal)  # a 401 is tried again with fresh credentials
    assert launch(launcher, world)
    assert world.verdicts == {RUN: (Verdict.UNKNOWN, reason)}
    assert world.find_cluster("there").failures == 0


@pytest.mark.parametrize("source", [None, "git"])
def test_a_pod_that_the_policy_no_longer_allows_is_not_created(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, source: str | None
) -> None:
    spec = {"image": "a", "pod": {"hostNetwork": True}}
    with world.store.writing() as session:
        session.execute(update(ProbeTemplate).values(spec=spec, source=source))
    assert launch(launcher, world)
    assert world.verdicts == {RUN: (Verdict.UNKNOWN, Reason.ADMISSION_DENIED)}


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (QUOTA, Reason.QUOTA_EXCEEDED),
        (Refusal(429, "TooManyRequests", "later"), Reason.CLUSTER_THROTTLED),
        (BROKEN, Reason.CLUSTER_ERROR),
        (NO_WEBHOOK, Reason.CLUSTER_ERROR),
        (Refusal(503, "ServiceUnavailable", "starting"), Reason.CLUSTER_ERROR),
        (Refusal(409, "Conflict", "the quota was changed"), Reason.CLUSTER_ERROR),
    ],
    ids=lambda found: found if isinstance(found, Reason) else "",
)
def test_a_temporary_error_is_retried_after_a_pause(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, refusal: Refusal, reason: Reason
) -> None:
    api.refuse(refusal)
    assert not launch(launcher, world)
    run = world.find(RUN)
    assert (run.state, run.setback) == (RunState.PENDING, reason)
    assert run.launch_at == run.wake_at == clock() + timedelta(seconds=2)
    assert launch(launcher, world) is False, "a message that comes too early does nothing"
    assert [method for method, _ in api.requests] == ["POST"]
    clock.now = run.launch_at
    launch(launcher, world)
    assert world.find(RUN).state == RunState.RUNNING


def test_repeated_errors_make_pauses_longer_but_not_beyond_the_patience(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, settings: Settings, now: datetime
) -> None:
    waits = []
    for _ in range(5):
        api.refuse(QUOTA)
        launch(launcher, world)
        run = world.find(RUN)
        waits.append((run.launch_at - clock()).total_seconds())
        assert run.expires_at == now + settings.patience
        clock.now = run.launch_at
        resend_overdue(world.store, clock(), settings)
    assert waits == [2, 4, 8, 16, 30]


def test_retry_after_is_respected(world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock) -> None:
    api.refuse(THROTTLED)
    launch(launcher, world)
    assert world.find(RUN).launch_at == clock() + timedelta(seconds=20)


@pytest.mark.parametrize("header", ["1e12", "9" * 30, "nan", "inf", "-1"])
def test_an_absurd_retry_after_loses_no_batch(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, header: str
) -> None:
    api.refuse(Refusal(429, "TooManyRequests", "slow down", headers={"Retry-After": header}))
    launch(launcher, world, *ids(2))
    assert sorted(world.states().values()) == [RunState.PENDING, RunState.RUNNING]
    [postponed] = [run for run in world.runs if run.state == RunState.PENDING]
    assert clock() + timedelta(seconds=2) <= postponed.launch_at <= clock() + timedelta(hours=1)


@pytest.mark.parametrize("wakes", [5, 100, 10_000])
def test_the_pause_of_a_run_with_many_wakes_is_the_longest(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, wakes: int
) -> None:
    world.run(RUN, cluster="there", wakes=wakes, expires_at=clock() + timedelta(minutes=10))
    api.refuse(QUOTA)
    launcher.launch("there", [RUN])
    assert world.find(RUN).launch_at == clock() + timedelta(seconds=30)


def test_an_unreachable_cluster_trips_its_own_breaker_only(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, clock: Clock, now: datetime
) -> None:
    world.reach("away", f"http://127.0.0.1:{free_port()}")
    away = [f"02hrun{i:020}" for i in range(3)]
    launch(launcher, world, *away, cluster="away")
    assert (world.find_cluster("away").failures, world.find_cluster("there").failures) == (1, 0)
    until = world.find_cluster("away").open_until
    assert until == now + breaker.BACKOFF.pause(1)
    clock.move(4)
    launch(launcher, world, *away, cluster="away")
    assert world.find_cluster("away").failures == 1, "nobody asks while the breaker is open"
    assert {(r.launch_at, r.wake_at, r.setback) for r in world.runs} == {(until, until, Reason.CLUSTER_UNREACHABLE)}
    launch(launcher, world)
    assert world.find(RUN).state == RunState.RUNNING


def test_a_run_waits_for_an_open_breaker_no_longer_than_its_patience(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, now: datetime
) -> None:
    world.change(Cluster, failures=9, open_until=now + timedelta(minutes=5))
    launch(launcher, world)
    run = world.find(RUN)
    assert (run.state, run.setback) == (RunState.PENDING, Reason.CLUSTER_UNREACHABLE)
    assert run.expires_at == now + settings.patience
    assert api.requests == []


def test_a_response_closes_the_breaker(world: ExecutionWorld, launcher: Launcher, clock: Clock, now: datetime) -> None:
    world.change(Cluster, col(Cluster.name) == "there", failures=3, open_until=now - timedelta(seconds=1))
    launch(launcher, world)
    cluster = world.find_cluster("there")
    assert (cluster.failures, cluster.open_until) == (0, None)


def test_only_one_launcher_tries_a_cluster_after_its_breaker_was_open(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, now: datetime
) -> None:
    first, second = ids(2)
    world.change(Cluster, failures=3, open_until=now - timedelta(seconds=1))
    world.run(first, cluster="there", trigger="manual")
    with world.store.writing() as session:  # it is trying, and has no answer yet
        locked = lock_cluster(session, "there")
        assert locked is not None
        assert launcher._claim(session, "there", locked[0], [first]) is not None
    launch(launcher, world, second)
    assert world.find(first).state == RunState.LAUNCHING
    assert (world.find(second).state, world.find(second).setback) == (RunState.PENDING, Reason.CLUSTER_UNREACHABLE)
    assert api.requests == []


def test_postponed_runs_are_sent_as_soon_as_the_cluster_responds(
    world: ExecutionWorld, launcher: Launcher, clock: Clock, now: datetime
) -> None:
    first, second = ids(2)
    world.change(Cluster, failures=3, open_until=now + timedelta(seconds=20))
    launch(launcher, world, second)
    assert world.find(second).wake_at == now + timedelta(seconds=20)
    world.change(Cluster, open_until=now - timedelta(seconds=1))
    then = clock.move(5)
    launch(launcher, world, first)
    assert world.find(first).state == RunState.RUNNING
    assert (world.find(second).launch_at, world.find(second).wake_at) == (then, then)


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


def test_a_run_whose_case_was_removed_is_unknown_and_the_rest_of_its_batch_runs(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    with world.store.writing() as session:
        session.add(
            ProbeCase(name="other", spec={"template": "gone", "kind": "blackbox"}, digest="", applied_at=world.noon)
        )
        increment_version(session)
    world.run(RUN, case="removed", cluster="there")
    world.run("02hrun", case="other", cluster="there")
    assert launch(launcher, world, RUN, "02hrun", "03hrun")
    assert world.verdicts == dict.fromkeys((RUN, "02hrun"), (Verdict.UNKNOWN, Reason.CASE_REMOVED))
    assert world.states()["03hrun"] == RunState.RUNNING


@pytest.mark.parametrize("kind", [ProbeCase, ProbeTemplate, RenderConfig])
def test_a_run_of_an_unreadable_entry_is_unknown_and_the_rest_of_its_batch_runs(
    world: ExecutionWorld, launcher: Launcher, kind: type[ProbeCase | ProbeTemplate | RenderConfig]
) -> None:
    specs = {
        ProbeTemplate: {"image": "docker.io/kubeprobe/busybox:dev"},
        ProbeCase: {"template": "newer", "kind": "blackbox"},
        RenderConfig: {"for": "newer", "values": {"A": "b"}},
    }
    with world.store.writing() as session:
        for table, spec in specs.items():
            stored = spec | {"newer": 1} if table is kind else spec
            session.add(table(name="newer", spec=stored, digest="", applied_at=world.noon))
        increment_version(session)
    world.run(RUN, case="newer", cluster="there")
    assert launch(launcher, world, RUN, "03hrun")
    [outcome] = world.outcomes
    assert (outcome.run_id, outcome.verdict, outcome.reason) == (RUN, Verdict.UNKNOWN, Reason.NOT_LAUNCHED)
    assert (
        f"the stored {kind.__name__} 'newer' is invalid in this version of KubeProbe at spec.newer" in outcome.message
    )
    assert "kubeprobe apply" in outcome.message
    assert world.states()["03hrun"] == RunState.RUNNING


def test_a_run_of_an_unreadable_binding_gets_its_pod(world: ExecutionWorld, launcher: Launcher) -> None:
    with world.store.writing() as session:
        session.add(Binding(name="all", spec={"cases": [CASE], "newer": 1}, digest="", applied_at=world.noon))
        increment_version(session)
    world.run(RUN, cluster="there", binding="all", expires_at=world.noon + timedelta(minutes=10))
    launch(launcher, world)
    assert world.states() == {RUN: RunState.RUNNING}


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


def test_a_run_whose_row_cannot_be_read_stops_no_other_of_its_batch(
    world: ExecutionWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ids(4)
    if world.store.engine.dialect.name == "sqlite":  # PostgreSQL accepts JSON only
        world.run(*batch, cluster="there")
        with world.store.writing() as session:
            cut = f"UPDATE run SET parameters = '{{\"cut' WHERE id = '{batch[1]}'"
            session.connection().exec_driver_sql(cut)
    else:

        def read(session: Session, cluster: Cluster, run_ids: Sequence[str], *more: Any) -> Claim:
            if batch[1] in run_ids:
                raise ValueError("a column that cannot be read")
            return claim(session, cluster, run_ids, *more)

        monkeypatch.setattr(launching, "claim", read)
    launch(launcher, world, *batch)
    assert world.verdicts == {batch[1]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)}
    with world.store.reading() as session:
        states = dict(session.exec(select(col(Run.id), col(Run.state)).where(col(Run.id) != batch[1])).all())
    assert set(states.values()) == {RunState.RUNNING}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL refuses such a value
@pytest.mark.parametrize("column", ["due_at", "opened_at", "created_at"])
def test_a_run_with_an_invalid_time_is_closed_and_stops_no_other(
    world: ExecutionWorld, launcher: Launcher, column: str
) -> None:
    batch = ids(3)
    world.run(*batch, cluster="there")
    with world.store.writing() as session:
        session.connection().exec_driver_sql(f"UPDATE run SET {column} = 'soon' WHERE id = '{batch[1]}'")
    launch(launcher, world, *batch)
    assert world.verdicts == {batch[1]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)}
    assert world.states() == {batch[0]: RunState.RUNNING, batch[1]: RunState.DONE, batch[2]: RunState.RUNNING}


def test_a_pod_that_cannot_be_stored_stops_no_other_of_its_batch(
    world: ExecutionWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, create = ids(4), ClusterApi.create_pod

    async def odd(self: ClusterApi, namespace: str, pod: dict[str, Any]) -> dict[str, Any]:
        found = await create(self, namespace, pod)
        if found["metadata"]["labels"][vocabulary.LABEL_RUN] == batch[1]:
            found["metadata"]["uid"] += "\0"  # PostgreSQL does not store it
        if found["metadata"]["labels"][vocabulary.LABEL_RUN] == batch[2]:
            del found["metadata"]["uid"]
        return found

    monkeypatch.setattr(ClusterApi, "create_pod", odd)
    launch(launcher, world, *batch)
    states = [world.states()[run_id] for run_id in batch]
    is_stored = world.store.engine.dialect.name == "sqlite"
    odd_state = RunState.RUNNING if is_stored else RunState.DONE
    assert states == [RunState.RUNNING, odd_state, RunState.PENDING, RunState.RUNNING]
    assert world.verdicts == ({} if is_stored else {batch[1]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)})
    assert world.find(batch[2]).setback == Reason.NOT_LAUNCHED
