"""Metrics of processes: work is counted once, when it is committed."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.execution.collect import Collector, CollectorContext
from kubeprobe.execution.collect.leases import Leases
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.metrics import REGISTRY
from kubeprobe.runs import Ending, Judgement, Opening, close, open_runs
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import Reason, Subject, Trigger, Verdict
from tests.harness.wait import until
from tests.services.execution.apiserver import Refusal, serving
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.execution.test_committer import Wakes
from tests.services.trigger.given import CASE


class Deltas:
    """By how much series have increased since it was created."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = self._all()

    def _all(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        key = (f"kubeprobe_{name}", tuple(sorted(labels.items())))
        return self._all().get(key, 0) - self._before.get(key, 0)

    def series(self) -> int:
        return len(self._all())


@pytest.fixture
def grown() -> Deltas:
    return Deltas()


def opening(cluster: str, due_at: datetime, case: str = CASE, reason: Reason | None = None, missed: int = 0) -> Opening:
    return Opening(
        slot=f"{cluster}/{case}/{reason}",
        trigger=Trigger.PERIODIC,
        case=case,
        subject=Subject(cluster),
        pool="default",
        due_at=due_at,
        reason=reason,
        missed=missed,
    )


def test_a_run_is_measured_from_its_due_time_to_its_outcome(
    world: ExecutionWorld, cipher: Cipher, clock: Clock, grown: Deltas
) -> None:
    with serving() as api:
        world.reach("there", api.url)
        launcher = Launcher(
            world.store, CatalogCache(), ClusterClients(cipher), LoopThread(), Settings(), "01hinstallation", clock
        )
        due = [
            opening("there", clock.now - timedelta(seconds=2)),
            opening("there", clock.now, reason=Reason.MISSED, missed=7),
        ]
        with world.store.writing() as session:
            (run,) = open_runs(session, due, clock.now, Settings())
            assert grown("runs_opened_total", trigger="periodic") == 0  # not committed yet
        clock.move(3)
        api.refuse(Refusal(500))
        launcher.launch("there", [run.id])
        assert grown("run_created_lag_seconds_count") == 0
        clock.move(30)
        launcher.launch("there", [run.id])
        launcher.loop.run(launcher.clients.close())
        launcher.loop.close()
    clock.move(5)
    judgement = Judgement(Verdict.PASS, Reason.PASSED, finished_at=clock.now - timedelta(seconds=1))
    for _ in range(2):  # observed twice, stored once
        with world.store.writing() as session:
            close(session, [Ending(run.id, judgement, attempt=1)], clock.now)
    assert grown("runs_opened_total", trigger="periodic") == 1
    assert grown("run_opened_lag_seconds_sum", trigger="periodic") == pytest.approx(2)
    assert grown("run_created_lag_seconds_sum") == pytest.approx(33)
    assert grown("run_stored_lag_seconds_sum") == pytest.approx(5)
    assert grown("run_finished_lag_seconds_sum") == pytest.approx(1)
    assert grown("outcomes_total", trigger="periodic", verdict="pass", reason="Passed") == 1
    assert grown("outcomes_total", trigger="periodic", verdict="unknown", reason="Missed") == 1
    assert grown("missed_slots_total") == 7
    assert grown("cluster_request_seconds_count", verb="create", kind="pods", status="2xx") == 1
    assert grown("cluster_request_seconds_count", verb="create", kind="pods", status="5xx") == 1


def test_rolled_back_work_is_not_counted(world: ExecutionWorld, now: datetime, grown: Deltas) -> None:
    def fail() -> None:
        with world.store.writing() as session:
            open_runs(session, [opening("prod-1", now)], now, Settings())
            raise ValueError("undone")

    with pytest.raises(ValueError, match="undone"):
        fail()
    assert grown("runs_opened_total", trigger="periodic") == 0


def test_many_clusters_and_cases_add_no_series(world: ExecutionWorld, now: datetime) -> None:
    def act(prefix: str, count: int) -> None:
        with world.store.writing() as session:
            due = [opening(f"{prefix}-{n}", now, case=f"case-{prefix}-{n}") for n in range(count)]
            opened = open_runs(session, due, now, Settings())
        found = Judgement(Verdict.FAIL, Reason.REPORTED_FAILURE, "no", finished_at=now)
        with world.store.writing() as session:
            close(session, [Ending(run.id, found) for run in opened], now)

    act("few", 1)
    before = Deltas().series()
    act("many", 80)
    assert Deltas().series() == before


@pytest.mark.parametrize("status", [404, 409])
def test_responses_are_counted_by_status_class(
    world: ExecutionWorld, cipher: Cipher, grown: Deltas, status: int
) -> None:
    async def send_request(server: str) -> None:
        clients = ClusterClients(cipher)
        api = await clients.get(world.reach("there", server))
        await api.delete_pod("kubeprobe", "kp-1", "uid")
        await clients.close()

    with serving() as api:
        api.put("kp-1")
        api.refuse(Refusal(status))
        asyncio.run(send_request(api.url))
    assert grown("cluster_request_seconds_count", verb="delete", kind="pods", status="4xx") == 1


def test_a_cluster_that_does_not_answer_is_counted_without_a_status(
    world: ExecutionWorld, cipher: Cipher, grown: Deltas
) -> None:
    async def send_request() -> None:
        clients = ClusterClients(cipher)
        api = await clients.get(world.reach("gone", "http://127.0.0.1:1"))
        with pytest.raises(Exception, match="gone"):
            await api.version()
        await clients.close()

    asyncio.run(send_request())
    assert grown("cluster_request_seconds_count", verb="get", kind="version", status="none") == 1


async def test_expired_leases_count_as_lost_and_released_ones_do_not(
    world: ExecutionWorld, cipher: Cipher, clock: Clock, grown: Deltas, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster("a", "b", "c", "d")
    clusters = [world.find_cluster(name) for name in "abcd"]
    renewals: list[int] = []

    def renew(*_: Any) -> Sequence[Cluster]:
        renewals.append(1)
        if len(renewals) == 2:
            return clusters[:3]  # one was released
        if len(renewals) >= 3:
            return clusters[:1]
        return clusters

    def moving() -> datetime:
        return clock.move(3600) if len(renewals) == 2 else clock.now  # the third is late

    async def watch(_: ClusterWatch) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(Leases, "renew", renew)
    monkeypatch.setattr(ClusterWatch, "run", watch)
    settings = Settings(lease=timedelta(seconds=0.2))
    context = CollectorContext(world.store, ClusterClients(cipher), Wakes(), settings, "01hinstallation", moving)
    task = asyncio.create_task(Collector("c1", context).run())
    await asyncio.to_thread(until, "four renewals", lambda: len(renewals) >= 4)
    task.cancel()
    await asyncio.wait([task])
    assert grown("leases_lost_total") == 2
    assert REGISTRY.get_sample_value("kubeprobe_leases_held") == 1
