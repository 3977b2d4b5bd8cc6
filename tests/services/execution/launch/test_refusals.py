"""Refusals of a cluster: permanent ones end a run, temporary ones postpone it."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import update

from kubeprobe.execution.launch import Launcher
from kubeprobe.runs import resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import ProbeTemplate
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.apiserver import OddApi, Refusal
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.execution.launch.given import RUN, ids, launch

QUOTA = Refusal(403, "Forbidden", 'pods "kp" is forbidden: exceeded quota: q, requested: pods=1, used: pods=9')
THROTTLED = Refusal(429, "TooManyRequests", "slow down", headers={"Retry-After": "20"})
BROKEN = Refusal(500, "InternalError", "etcdserver: request timed out")
NO_WEBHOOK = Refusal(500, "InternalError", 'failed calling webhook "w": Post "https://w": connection refused')
NAMESPACE_GONE = Refusal(
    403, "Forbidden", "unable to create new content in namespace kubeprobe because it is being terminated"
)
DENIED = Refusal(403, "Forbidden", 'admission webhook "policy.example" denied the request: no latest tags')
RBAC = Refusal(403, "Forbidden", 'pods is forbidden: User "kp" cannot create resource "pods" in API group "" in the ns')


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
