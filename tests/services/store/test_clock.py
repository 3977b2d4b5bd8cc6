"""Processes whose machines' clocks differ share one time: the database's."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import delete
from sqlmodel import select
from structlog.testing import capture_logs

from kubeprobe.catalog import CatalogCache
from kubeprobe.clock import utc_now
from kubeprobe.execution.collect.leases import Leases
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.health.facts import wrong_clocks
from kubeprobe.queue import Task
from kubeprobe.response.claim import claim_next, due_targets
from kubeprobe.response.respond import respond
from kubeprobe.response.routes import TargetRef
from kubeprobe.runs import resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Collector, Housekeeping, Store, StoreClock, is_watched
from kubeprobe.store.clock import MEASURE_EVERY, SHOWN_FOR, delete_old_process_clocks
from kubeprobe.trigger import claim_housekeeping, due_housekeeping, issue_due
from kubeprobe.vocabulary import Verdict
from tests.conftest import NOW
from tests.harness.wait import until
from tests.services.execution.given import ExecutionWorld
from tests.services.response.given import World as ResponseWorld
from tests.services.trigger.given import World

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SKEWS = (timedelta(0), 90 * SECOND, -90 * SECOND)


@pytest.fixture
def clocks(store: Store) -> list[StoreClock]:
    """Of processes on three machines, one 90 s ahead and one 90 s behind. Those of SQLite are on one machine."""
    skews = SKEWS if store.engine.dialect.name == "postgresql" else SKEWS[:1] * 3
    return [StoreClock(store, machine=lambda skew=skew: utc_now() + skew) for skew in skews]


@pytest.fixture
def settings() -> Settings:
    return Settings()


def test_processes_whose_clocks_differ_have_the_databases_time(clocks: list[StoreClock]) -> None:
    """The databases of these tests have the clock of this machine."""
    for clock in clocks:
        earliest, found, latest = utc_now(), clock(), utc_now()
        assert earliest - SECOND < found < latest + SECOND


def test_each_task_of_housekeeping_is_claimed_once_and_due_for_all_at_once(
    store: Store, clocks: list[StoreClock]
) -> None:
    """A worker that was ahead postponed it for the others; one that was behind had it done again at once."""
    for first in clocks:
        assert claim_housekeeping(store, Task.FORGET, first())
        for clock in clocks:
            assert not claim_housekeeping(store, Task.FORGET, clock())
            assert Task.FORGET not in due_housekeeping(store, clock() + 59 * MINUTE)
            assert Task.FORGET in due_housekeeping(store, clock() + 61 * MINUTE)
        with store.writing() as session:
            session.execute(delete(Housekeeping))


def test_a_slot_is_opened_by_one_beat_and_by_none_before_it_is_due(
    store: Store, clocks: list[StoreClock], settings: Settings
) -> None:
    world = World(store, clocks[0]())
    world.cluster("prod-1")
    world.schedule(due=world.noon + MINUTE)
    assert [issue_due(store, clock(), settings).opened for clock in clocks] == [[], [], []]
    world.schedule("prod-1", case="dns-lookup", due=world.noon)
    for _ in range(2):
        for clock in reversed(clocks):
            issue_due(store, clock(), settings)
    assert [run.case for run in world.runs] == ["dns-lookup"]
    assert world.outcomes == []


def test_a_run_is_claimed_by_one_launcher_and_its_claim_lapses_for_no_other(
    store: Store, clocks: list[StoreClock], settings: Settings
) -> None:
    """That of a launcher that was behind had lapsed for the others before it was made."""
    world = ExecutionWorld(store, clocks[0](), Cipher("A" * 43 + "="))
    world.cluster("prod-1")
    for number, first in enumerate(clocks):
        world.run(run_id := f"r{number}", launch_at=first(), wake_at=first())
        assert world.claim("prod-1", [run_id], first(), settings) == [run_id]
        for clock in clocks:
            assert resend_overdue(store, clock(), settings) == []
            assert world.claim("prod-1", [run_id], clock(), settings) == []


def test_a_notification_is_claimed_by_one_responder(store: Store, clocks: list[StoreClock]) -> None:
    for number, first in enumerate(clocks):
        world = ResponseWorld(store, clocks[0]())
        world.cluster(cluster := f"prod-{number}")
        world.case()
        world.route(route := f"team-{number}", {"name": "hook", "webhook": {"url": "http://127.0.0.1:1/"}})
        world.outcome(Verdict.FAIL, 0, cluster=cluster)
        respond(store, CatalogCache(), first())
        to = TargetRef(route, "hook")
        assert claim_next(store, CatalogCache(), to, first) is not None
        for clock in clocks:
            assert to not in due_targets(store, clock())
            assert claim_next(store, CatalogCache(), to, clock) is None


def test_the_lease_of_a_collector_lapses_for_no_other(
    store: Store, clocks: list[StoreClock], settings: Settings
) -> None:
    World(store, clocks[0]()).cluster("prod-1")
    for number, first in enumerate(clocks):
        assert [cluster.name for cluster in Leases(store, f"c{number}", settings).renew(first())] == ["prod-1"]
        for clock in clocks:
            assert Leases(store, "other", settings).renew(clock()) == []
            with store.reading() as session:
                assert session.exec(select(Cluster.name).where(is_watched(clock()))).all() == ["prod-1"]
        with store.writing() as session:
            session.execute(delete(Collector))


def test_a_row_of_a_cluster_carries_the_databases_time(store: Store, clocks: list[StoreClock]) -> None:
    """A collector reads the rows that have changed since its last renewal, whatever process changed them."""
    world = World(store, clocks[0]())
    world.cluster("prod-1")
    for labels in ({}, {"tier": "gold"}):
        with store.writing() as session:
            row = session.get_one(Cluster, "prod-1")
            row.labels = labels or row.labels
        with store.reading() as session:
            updated_at = session.get_one(Cluster, "prod-1").updated_at
        assert updated_at is not None
        assert world.noon - SECOND < updated_at < clocks[0]() + SECOND


class Elapsed:
    """Seconds since boot, which tests advance."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_setting_a_machines_clock_changes_nothing(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        assert StoreClock(store, machine=lambda: NOW)() == NOW, "it is the database's clock"
        return
    elapsed, skews = Elapsed(), iter(SKEWS)
    clock = StoreClock(store, machine=lambda: utc_now() + next(skews), elapsed_s=elapsed)
    before = clock()
    elapsed.seconds += 30
    assert clock() - before == 30 * SECOND


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_clock_is_measured_every_minute_without_a_wait(store: Store) -> None:
    elapsed = Elapsed()
    clock = StoreClock(store, elapsed_s=elapsed)
    before = clock()
    elapsed.seconds += MEASURE_EVERY.total_seconds() + 3600  # as with a clock that runs much too fast
    assert clock() - before >= timedelta(hours=1)
    until("another measurement", lambda: clock() - before < MINUTE)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_clock_that_cannot_start_its_thread_goes_on_and_measures_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    elapsed = Elapsed()
    clock = StoreClock(store, elapsed_s=elapsed)
    before = clock()
    elapsed.seconds += 3600
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(threading.Thread, "start", fail)
        assert [clock() - before for _ in range(3)] == [timedelta(hours=1)] * 3
    assert [line["event"] for line in logs] == ["database clock not measured"]
    elapsed.seconds += MEASURE_EVERY.total_seconds()
    assert clock() - before >= timedelta(hours=1)
    until("another measurement", lambda: clock() - before < MINUTE)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_time_is_that_of_one_measurement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the next one ends while the time is being read."""
    elapsed = Elapsed()
    clock = StoreClock(store, elapsed_s=elapsed)
    before = clock()

    def measure_at_once(_: threading.Thread) -> None:
        elapsed.seconds += 100
        clock._measure_again()

    monkeypatch.setattr(threading.Thread, "start", measure_at_once)
    elapsed.seconds += MEASURE_EVERY.total_seconds()
    assert clock() == before + MEASURE_EVERY


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_wrong_clock_is_logged_once_and_shown_while_it_is_wrong(store: Store) -> None:
    skew, elapsed = [90 * SECOND], Elapsed()
    with capture_logs() as logs:
        clock = StoreClock(store, "launcher", machine=lambda: utc_now() + skew[0], elapsed_s=elapsed)
        clock._measure()
    [line] = logs
    assert (line["event"], round(line["ahead_s"])) == ("clock differs from the database's", 90)
    with store.reading() as session:
        [(process, ahead)] = wrong_clocks(session, clock()).items()
        assert wrong_clocks(session, clock() + SHOWN_FOR + SECOND) == {}, "the process may have ended"
    assert process.startswith("launcher on ")
    assert round(ahead.total_seconds()) == 90
    StoreClock(store, "beat", machine=lambda: utc_now() - 2 * MINUTE)
    skew[0] = timedelta(0)
    clock._measure()
    with store.reading() as session:
        assert [round(ahead.total_seconds()) for ahead in wrong_clocks(session, clock()).values()] == [-120]
    delete_old_process_clocks(store, clock() + SHOWN_FOR + SECOND)
    with store.reading() as session:
        assert wrong_clocks(session, clock()) == {}
