"""The breaker of a cluster moves only by the results of requests, and a claim is settled only by its own launcher."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kubeprobe.execution import launch as launching
from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet import transport
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.runs import expire, lock_cluster, resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Run
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.apiserver import OddApi, Refusal
from tests.services.execution.given import Clock, ExecutionWorld

SECOND = timedelta(seconds=1)
SILENT = Refusal(500, silent=True)
DENIED = Refusal(403, "Forbidden", 'admission webhook "policy.example" denied the request: no latest tags')
IDS = tuple(f"01hrun{i:020}" for i in range(60))


def opened(world: ExecutionWorld, settings: Settings, *run_ids: str) -> Sequence[str]:
    """Open runs as `open_runs` does."""
    until = world.noon + settings.launch_within
    world.run(*run_ids, cluster="there", expires_at=until, launch_before=until)
    return run_ids


def half_open(world: ExecutionWorld, now: datetime) -> None:
    """One creation has timed out, and the breaker's time is over."""
    world.change_cluster("there", failures=1, open_until=now - SECOND)


def breaker_of(world: ExecutionWorld) -> tuple[int, datetime | None, datetime | None]:
    found = world.find_cluster("there")
    return found.failures, found.open_until, found.trial_until


def test_a_cluster_at_its_cap_moves_no_breaker_and_its_runs_do_not_end_as_unreachable(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, clock: Clock
) -> None:
    world.change_cluster("there", max_in_flight=1)
    world.run("busy", cluster="there", state=RunState.RUNNING, expires_at=world.noon + 2 * settings.launch_within)
    api.refuse(SILENT)
    world.change_cluster("there", max_in_flight=2)
    launcher.launch("there", opened(world, settings, *IDS[:3]))
    world.change_cluster("there", max_in_flight=1)
    assert world.find_cluster("there").failures == 1
    until = world.find_cluster("there").open_until
    while clock() < world.noon + settings.launch_within - 6 * SECOND:
        clock.move(settings.resend_after.total_seconds())
        if overdue := resend_overdue(world.store, clock(), settings):
            launcher.launch("there", [run.id for run in overdue])
        expire(world.store, clock())
        assert breaker_of(world)[:2] == (1, until)
    assert (world.verdicts, len(api.requests)) == ({}, 1)
    clock.move(10)
    assert expire(world.store, clock()).count == 3
    assert set(world.verdicts.values()) == {(Verdict.UNKNOWN, Reason.NOT_LAUNCHED)}
    assert all("cap on pods" in outcome.message for outcome in world.outcomes)


def test_a_launcher_without_a_request_moves_no_breaker(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, clock: Clock, now: datetime
) -> None:
    half_open(world, now)
    before = breaker_of(world)
    opened(world, settings, IDS[0])
    world.change(Run, case="removed")
    launcher.launch("there", IDS[:1])
    assert world.verdicts == {IDS[0]: (Verdict.UNKNOWN, Reason.CASE_REMOVED)}
    assert breaker_of(world) == before, "neither closed nor opened: nothing was requested"
    launcher.launch("there", opened(world, settings, IDS[1]))
    assert (world.find(IDS[1]).state, breaker_of(world)) == (RunState.RUNNING, (0, None, None))


def test_a_trial_that_fails_counts_once_and_ends(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, now: datetime
) -> None:
    half_open(world, now)
    api.refuse(SILENT)
    launcher.launch("there", opened(world, settings, IDS[0]))
    assert breaker_of(world) == (2, now + 10 * SECOND, None)


def test_a_trial_of_a_launcher_that_died_lapses_with_its_claim(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, clock: Clock, now: datetime
) -> None:
    half_open(world, now)
    opened(world, settings, *IDS[:2])
    with world.store.writing() as session:
        locked = lock_cluster(session, "there")
        assert locked is not None
        launcher._claim(session, "there", locked[0], IDS[:1])
    launcher.launch("there", IDS[1:2])
    assert (world.find(IDS[1]).setback, api.requests) == (Reason.CLUSTER_UNREACHABLE, [])
    assert breaker_of(world) == (1, now - SECOND, now + settings.claim_timeout)
    clock.move(settings.claim_timeout.total_seconds())
    launcher.launch("there", IDS[1:2])
    assert (world.find(IDS[1]).state, breaker_of(world)) == (RunState.RUNNING, (0, None, None))


def test_a_run_that_a_breaker_postponed_waits_afterwards_as_long_as_any_other(
    world: ExecutionWorld, launcher: Launcher, settings: Settings, clock: Clock, now: datetime
) -> None:
    world.change_cluster("there", failures=1, open_until=now + 5 * SECOND)
    launcher.launch("there", opened(world, settings, *IDS[:2]))
    assert world.find(IDS[1]).expires_at == now + settings.patience
    clock.move(5)
    world.change_cluster("there", max_in_flight=1)
    launcher.launch("there", IDS[:1])
    run = world.find(IDS[1])
    assert (run.setback, run.expires_at, run.launch_at) == (None, now + settings.launch_within, clock())


def test_a_launcher_that_is_too_slow_is_no_evidence_against_the_cluster(
    world: ExecutionWorld,
    launcher: Launcher,
    api: OddApi,
    clock: Clock,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half_open(world, now)
    before = breaker_of(world)
    launcher.launch("there", [])  # its location is recorded
    run = launcher.loop.run

    def slow(coroutine: object) -> object:
        clock.move(launcher.settings.claim_timeout.total_seconds() / 2 + 1)
        return run(coroutine)  # type: ignore[arg-type, var-annotated]

    monkeypatch.setattr(launcher.loop, "run", slow)
    launcher.launch("there", opened(world, launcher.settings, IDS[0]))
    found = world.find(IDS[0])
    assert (found.state, found.setback, found.wake_at) == (RunState.PENDING, None, clock())
    assert (breaker_of(world), api.requests) == (before, [])


def test_an_error_of_kubeprobe_is_not_called_one_of_the_cluster(
    world: ExecutionWorld, launcher: Launcher, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault\0")

    monkeypatch.setattr(launching, "render_pod", broken)
    launcher.launch("there", opened(world, launcher.settings, IDS[0]))
    assert world.find(IDS[0]).setback == Reason.NOT_LAUNCHED
    expire(world.store, clock.move(61))
    assert world.verdicts == {IDS[0]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)}
    assert "a fault" in world.outcomes[0].message


@pytest.mark.parametrize("answer", [None, Refusal(429, "TooManyRequests", "slow down"), DENIED, SILENT])
def test_a_late_launcher_does_not_settle_the_claim_of_another(
    world: ExecutionWorld,
    launcher: Launcher,
    api: OddApi,
    clock: Clock,
    answer: Refusal | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its claim has expired, and the run is claimed again at the same attempt before it records its result."""
    launcher.launch("there", [])  # its location is recorded
    run = launcher.loop.run

    def claimed_again(coroutine: object) -> object:
        found = run(coroutine)  # type: ignore[arg-type, var-annotated]
        clock.move(launcher.settings.claim_timeout.total_seconds())
        assert resend_overdue(world.store, clock(), launcher.settings)
        world.change_cluster("there", failures=0, open_until=None)
        assert world.claim("there", IDS[:1], clock(), launcher.settings) == [IDS[0]]
        return found

    monkeypatch.setattr(launcher.loop, "run", claimed_again)
    api.refuse(*[answer] if answer else [])
    launcher.launch("there", opened(world, launcher.settings, IDS[0]))
    found = world.find(IDS[0])
    assert (found.state, found.pod_uid, found.setback, world.verdicts) == (RunState.LAUNCHING, None, None, {})


def test_the_first_request_without_a_response_ends_the_batch(
    world: ExecutionWorld, launcher: Launcher, settings: Settings, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent cluster holds a launcher for the time-out of one request, whatever the size of the batch."""
    waiting: list[str] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append("request")
        await reader.read(-1)
        writer.close()

    server = launcher.loop.run(asyncio.start_server(silent, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.2)
    world.reach("silent", f"http://127.0.0.1:{port}", max_in_flight=100)
    world.run(*IDS, cluster="silent", expires_at=now + settings.launch_within)
    launcher.launch("silent", IDS)
    server.close()
    assert len(waiting) <= settings.launch_concurrency
    assert {(run.state, run.setback) for run in world.runs} == {(RunState.PENDING, Reason.CLUSTER_UNREACHABLE)}
    assert world.find_cluster("silent").failures == 1


def test_a_cluster_that_responds_after_a_lost_request_opens_no_breaker(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, create, sent = asyncio.Event(), ClusterApi.create_pod, list[str]()

    async def in_order(self: ClusterApi, namespace: str, pod: dict[str, object]) -> dict[str, object]:
        try:
            sent.append(namespace)
            if len(sent) > 1:
                await lost.wait()
            return await create(self, namespace, pod)
        finally:
            lost.set()

    monkeypatch.setattr(ClusterApi, "create_pod", in_order)
    api.refuse(SILENT)
    launcher.launch("there", opened(world, settings, *IDS[:2]))
    assert sorted(world.states().values()) == [RunState.PENDING, RunState.RUNNING]
    assert breaker_of(world) == (0, None, None)


def test_credentials_that_cannot_be_loaded_move_no_breaker_and_are_named(
    world: ExecutionWorld, launcher: Launcher, settings: Settings, clock: Clock, now: datetime, tmp_path: Path
) -> None:
    plugin = {"command": str(tmp_path / "no-such-plugin"), "apiVersion": "client.authentication.k8s.io/v1"}
    world.reach("plugin", "https://127.0.0.1:1", user={"exec": plugin}, failures=1, open_until=now - SECOND)
    until = world.noon + settings.launch_within
    world.run(*IDS, cluster="plugin", expires_at=until, launch_before=until)
    launcher.launch("plugin", IDS)
    found = world.find_cluster("plugin")
    assert (found.failures, found.open_until, found.trial_until) == (1, now - SECOND, None)
    launched = [run for run in world.runs if not run.held]
    assert {(run.state, run.setback) for run in launched} == {(RunState.PENDING, Reason.CREDENTIALS_UNAVAILABLE)}
    expire(world.store, clock.move(settings.patience.total_seconds() + 1))
    assert {outcome.reason for outcome in world.outcomes} == {Reason.CREDENTIALS_UNAVAILABLE}
    assert all("no-such-plugin" in outcome.message for outcome in world.outcomes)


@pytest.mark.parametrize("answer", [None, SILENT])
def test_the_result_of_a_request_to_a_former_address_does_not_move_the_breaker(
    world: ExecutionWorld,
    launcher: Launcher,
    api: OddApi,
    settings: Settings,
    answer: Refusal | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is replaced while the request is under way; the new address has a breaker of its own."""
    launcher.launch("there", [])  # its location is recorded
    half_open(world, world.noon)
    until = world.noon + 5 * SECOND if answer is None else None
    run = launcher.loop.run

    def replaced(coroutine: object) -> object:
        found = run(coroutine)  # type: ignore[arg-type, var-annotated]
        world.move("there", "http://127.0.0.1:1")
        assert breaker_of(world) == (0, None, None)
        world.change_cluster("there", failures=int(until is not None), open_until=until)
        return found

    monkeypatch.setattr(launcher.loop, "run", replaced)
    api.refuse(*[answer] if answer else [])
    launcher.launch("there", opened(world, settings, IDS[0]))
    assert breaker_of(world) == (int(until is not None), until, None)
