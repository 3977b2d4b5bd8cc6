"""Periodic runs: each slot is opened once, by any number of beats and at any delay."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, text
from sqlmodel import col, select

from kubeprobe.runs import resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Outcome, Run, Schedule, Store
from kubeprobe.trigger import Tick, issue_due, periodic
from kubeprobe.trigger.periodic import BATCH
from kubeprobe.vocabulary import Concurrency, Reason, RunState, Trigger, Verdict
from tests.services.trigger.given import CASE, World, at_once, statements

MINUTE = timedelta(minutes=1)


def test_a_due_slot_opens_one_run(world: World, now: datetime, settings: Settings) -> None:
    schedule = world.schedule(offset_s=17.5, due=now + timedelta(seconds=17.5))
    assert issue_due(world.store, now, settings) == Tick(next_due=now + timedelta(seconds=17.5))
    [opened] = issue_due(world.store, now + MINUTE, settings).opened
    [run] = world.runs
    assert (run.id, run.slot, run.state) == (opened.id, opened.slot, RunState.PENDING)
    assert (run.trigger, run.case, run.cluster, run.binding) == (Trigger.PERIODIC, CASE, "prod-1", "all")
    assert (run.schedule_id, run.due_at) == (schedule, now + timedelta(seconds=17.5))
    assert issue_due(world.store, now + MINUTE, settings) == Tick(next_due=now + 5 * MINUTE + timedelta(seconds=17.5))


def test_many_issuers_at_once_open_one_run_for_each_slot(world: World, now: datetime, settings: Settings) -> None:
    world.cluster(*(f"c{i}" for i in range(60)))
    world.schedules([f"c{i}" for i in range(60)])
    ticks = at_once(4, lambda _: issue_due(world.store, now, settings))
    assert sorted(r.cluster for tick in ticks for r in tick.opened) == sorted(f"c{i}" for i in range(60))
    assert len(world.runs) == 60
    assert world.outcomes == []


def test_a_slot_that_was_issued_before_is_not_issued_again(world: World, now: datetime, settings: Settings) -> None:
    """As after a beat with a wrong clock has set the schedule back."""
    world.schedule(concurrency=Concurrency.ALLOW)
    assert len(issue_due(world.store, now, settings).opened) == 1
    world.change(Schedule, next_due=now)
    assert issue_due(world.store, now, settings).opened == []
    assert len(world.runs) == 1


@pytest.mark.parametrize(
    ("late", "missed"), [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (60 * 24, 288)], ids="{} minutes late".format
)
def test_after_an_outage_one_run_catches_up_and_the_missed_slots_are_counted(
    world: World, now: datetime, settings: Settings, late: int, missed: int
) -> None:
    world.schedule()
    tick = issue_due(world.store, now + late * MINUTE, settings)
    latest = now + (late - late % 5) * MINUTE
    [opened] = tick.opened
    assert {r.id: r.due_at for r in world.runs}[opened.id] == latest
    assert tick.ended == bool(missed)
    outcomes = [(o.verdict, o.reason, o.missed, o.due_at, o.trigger) for o in world.outcomes]
    assert outcomes == ([(Verdict.UNKNOWN, Reason.MISSED, missed, now, Trigger.PERIODIC)] if missed else [])
    assert issue_due(world.store, now + late * MINUTE, settings).opened == []


def test_after_an_outage_many_schedules_catch_up_in_batches(world: World, now: datetime, settings: Settings) -> None:
    names = [f"c{i}" for i in range(2 * BATCH)]
    world.cluster(*names)
    world.schedules(names)
    with statements(world.store) as seen:
        assert _issue_all(world.store, now + 60 * MINUTE, settings) == (2 * BATCH, 2)
    assert len(seen) <= 2 * 10 + 3, "per batch: due, still open, inserts, advance"
    with world.store.reading() as session:
        assert len(set(session.exec(select(Run.slot)))) == 4 * BATCH
        assert session.scalar(select(func.count()).select_from(Outcome)) == 2 * BATCH


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.LAUNCHING, RunState.RUNNING])
def test_forbid_skips_a_slot_while_an_earlier_run_is_open(
    world: World, now: datetime, settings: Settings, state: RunState
) -> None:
    schedule = world.schedule(concurrency=Concurrency.FORBID)
    world.run("earlier", schedule_id=schedule, state=state)
    tick = issue_due(world.store, now, settings)
    assert (tick.opened, tick.replaced, tick.ended) == ([], [], True)
    [outcome] = world.outcomes
    assert (outcome.verdict, outcome.reason, outcome.due_at) == (Verdict.UNKNOWN, Reason.STILL_RUNNING, now)
    assert "earlier" in outcome.message
    world.end("earlier")
    assert len(issue_due(world.store, now + 5 * MINUTE, settings).opened) == 1


def test_allow_opens_a_second_run(world: World, now: datetime, settings: Settings) -> None:
    schedule = world.schedule(concurrency=Concurrency.ALLOW)
    world.run("earlier", schedule_id=schedule, state=RunState.RUNNING)
    tick = issue_due(world.store, now, settings)
    assert (len(tick.opened), tick.replaced, tick.ended) == (1, [], False)
    assert [r.state for r in world.runs if r.id == "earlier"] == [RunState.RUNNING]


def test_replace_closes_earlier_runs_as_unknown_and_opens_the_new_one(
    world: World, now: datetime, settings: Settings
) -> None:
    schedule = world.schedule(concurrency=Concurrency.REPLACE)
    world.run("one", schedule_id=schedule, state=RunState.RUNNING, pod="kp-one", pod_uid="u1")
    world.run("two", schedule_id=schedule, state=RunState.PENDING)
    world.run("ended", schedule_id=schedule, state=RunState.DONE)
    world.run("other", state=RunState.RUNNING)
    tick = issue_due(world.store, now, settings)
    assert sorted(r.id for r in tick.replaced) == ["one", "two"]
    assert (len(tick.opened), tick.ended) == (1, True)
    assert {o.run_id: (o.verdict, o.reason) for o in world.outcomes} == dict.fromkeys(
        ("one", "two"), (Verdict.UNKNOWN, Reason.REPLACED)
    )
    still_open = {r.id for r in world.runs if r.state != RunState.DONE}
    assert still_open == {"other", tick.opened[0].id}


def test_a_paused_schedule_opens_no_runs_and_is_never_due(world: World, now: datetime, settings: Settings) -> None:
    world.schedule(paused_at=now - MINUTE)
    assert issue_due(world.store, now + 60 * MINUTE, settings) == Tick()
    assert world.runs == []


def test_slots_of_a_cordoned_cluster_leave_no_record(world: World, now: datetime, settings: Settings) -> None:
    world.cluster("prod-2", cordoned_at=now - MINUTE)
    world.schedule("prod-2", concurrency=Concurrency.REPLACE)
    tick = issue_due(world.store, now + 7 * MINUTE, settings)
    assert (tick.opened, tick.replaced, tick.ended) == ([], [], False)
    assert (world.runs, world.outcomes) == ([], [])
    world.change(Cluster, col(Cluster.name) == "prod-2", cordoned_at=None)
    assert issue_due(world.store, now + 9 * MINUTE, settings).opened == []
    [opened] = issue_due(world.store, now + 10 * MINUTE, settings).opened
    assert opened.cluster == "prod-2"
    assert world.outcomes == [], "what passed in maintenance is not made up for"


def test_a_schedule_of_a_removed_cluster_opens_no_runs(world: World, now: datetime, settings: Settings) -> None:
    world.schedule("removed")
    issue_due(world.store, now, settings)
    assert issue_due(world.store, now, settings) == Tick(next_due=now + 5 * MINUTE)
    assert world.runs == []


@pytest.mark.parametrize(
    ("day", "due"),
    [
        (datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2027, 3, 28, tzinfo=UTC), datetime(2027, 3, 28, 1, 0, tzinfo=UTC)),
    ],
    ids=["autumn", "spring"],
)
def test_half_past_two_comes_once_on_the_days_on_which_the_clocks_change(
    world: World, settings: Settings, day: datetime, due: datetime
) -> None:
    start = day - timedelta(hours=12)
    world.cron("30 2 * * *", "Europe/Berlin", start)
    for minutes in range(0, 36 * 60, 10):
        opened = issue_due(world.store, start + minutes * MINUTE, settings).opened
        world.end(*(run.id for run in opened))
    assert [run.due_at for run in world.runs] == [due]
    assert world.outcomes == []


def test_an_idle_tick_costs_the_same_for_any_number_of_schedules(
    world: World, now: datetime, settings: Settings
) -> None:
    later = now + timedelta(days=1)
    world.schedules([f"c{i}" for i in range(100)], due=later)
    few = _idle_statements(world.store, now, settings)
    world.schedules([f"d{i}" for i in range(20_000)], due=later)
    assert _idle_statements(world.store, now, settings) == few
    assert len(few) == 3


def test_a_tick_reads_due_schedules_by_index(world: World, now: datetime, settings: Settings) -> None:
    world.schedules([f"c{i}" for i in range(20_000)], due=now + timedelta(days=1))
    world.schedule()
    world.run("overdue", *(f"r{i}" for i in range(3000)))
    world.end(*(f"r{i}" for i in range(3000)))
    with world.store.writing() as session:
        session.execute(text("ANALYZE"))
    with statements(world.store) as seen:
        issue_due(world.store, now - MINUTE, settings)
        resend_overdue(world.store, now - MINUTE, settings)
    indexes = ["ix_schedule_due", "ix_schedule_due", "ix_run_wake"]
    explain = {"postgresql": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}[world.store.engine.dialect.name]
    with world.store.engine.begin() as connection:
        for (statement, parameters), index in zip(seen, indexes, strict=True):
            plan = connection.exec_driver_sql(explain + statement, parameters)
            explained = "\n".join(" ".join(map(str, row)) for row in plan)
            assert index in explained, explained


@pytest.mark.parametrize(("due", "ticks"), [(99, 1), (100, 1), (101, 2), (1000, 10)])
def test_many_due_slots_are_issued_in_batches(
    world: World, now: datetime, settings: Settings, due: int, ticks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around the boundaries of a batch, and ten of them; batches of full size are above."""
    monkeypatch.setattr(periodic, "BATCH", 100)
    names = [f"c{i}" for i in range(due)]
    world.cluster(*names)
    world.schedules(names)
    with statements(world.store) as seen:
        assert _issue_all(world.store, now, settings) == (due, ticks)
    assert len(seen) <= 10 * ticks, "per batch: due, still open, inserts, advance"
    with world.store.reading() as session:
        assert len(set(session.exec(select(Run.slot)))) == due


def _issue_all(store: Store, now: datetime, settings: Settings) -> tuple[int, int]:
    """The number of opened runs, and of ticks."""
    opened = ticks = 0
    while (tick := issue_due(store, now, settings)).next_due is not None and tick.next_due <= now:
        opened += len(tick.opened)
        ticks += 1
    return opened, ticks


def _idle_statements(store: Store, now: datetime, settings: Settings) -> list[str]:
    with statements(store) as seen:
        issue_due(store, now, settings)
        resend_overdue(store, now, settings)
    return [statement for statement, _ in seen]
