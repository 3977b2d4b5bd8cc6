"""Gauges that are read from the store, in a bounded number of statements."""

from datetime import timedelta

from sqlmodel import col, update

from kubeprobe.store import Alert, Collector, Notification, Run
from kubeprobe.views.gauges import StoreGauges, read_gauges
from kubeprobe.vocabulary import NotificationState, RunState, Trigger, Verdict
from tests.services.response.given import statements
from tests.services.views.given import World


def read(world: World) -> StoreGauges:
    with world.store.reading() as session:
        return read_gauges(session, world.now)


def change_run(world: World, run_id: str, **values: object) -> None:
    with world.store.writing() as session:
        session.execute(update(Run).where(col(Run.id) == run_id).values(**values))


def alert(world: World, number: int, *, is_open: bool) -> str:
    row = Alert(
        id=f"a{number}",
        cluster="prod-1",
        case=f"case-{number}",
        kind="fail",
        severity="critical",
        reason="Passed",
        first_run_id="r",
        last_run_id="r",
        opened_at=world.now,
        closed_at=None if is_open else world.now,
    )
    with world.store.writing() as session:
        session.add(row)
    return f"a{number}"


def notify(world: World, alert_id: str, event: str, age_s: float, state: NotificationState) -> None:
    row = Notification(
        id=f"{alert_id}-{event}",
        alert_id=alert_id,
        event=event,
        route="team",
        target="chat",
        case=alert_id,
        version=1 if event == "opened" else 2,
        payload={},
        state=state,
        next_attempt_at=world.now - timedelta(seconds=age_s),
    )
    with world.store.writing() as session:
        session.add(row)


def test_gauges_of_an_empty_store_are_zero(world: World) -> None:
    found = read(world)
    assert (found.open_runs, found.open_alerts, found.clusters) == ({}, {}, {})
    assert (found.oldest_pending_s, found.overdue_schedule_s, found.oldest_unprocessed_s) == (0, 0, 0)
    assert found.last_outcome_at is None


def test_open_runs_are_counted_by_state_with_the_oldest_wait(world: World) -> None:
    ago = world.now - timedelta(seconds=90)
    world.opened(at=ago)
    held, running, launching = world.opened(at=ago), world.opened(at=ago), world.opened(at=ago, binding="core")
    put_off = world.opened(at=ago)
    change_run(world, held, held=True, launch_at=world.now - timedelta(seconds=40))
    change_run(world, running, state=RunState.RUNNING, held=True)
    change_run(world, launching, state=RunState.LAUNCHING)
    change_run(world, put_off, launch_at=world.now + timedelta(minutes=1))
    world.run(at=ago)
    found = read(world)
    assert found.open_runs == {
        ("pending", Trigger.MANUAL): 2,
        ("held", Trigger.MANUAL): 1,
        ("running", Trigger.MANUAL): 1,
        ("launching", Trigger.PERIODIC): 1,
    }
    assert (found.oldest_pending_s, found.oldest_held_s) == (90, 40)


def test_unprocessed_outcomes_overdue_schedules_and_clusters_are_counted(world: World) -> None:
    soon, gone = world.now + timedelta(seconds=5), world.now - timedelta(seconds=5)
    for name in ("a", "b", "c"):
        world.cluster(name)
    with world.store.writing() as session:
        session.add(Collector(name="alive", pool="default", leased_until=soon))
        session.add(Collector(name="dead", pool="default", leased_until=gone))
    world.change_cluster("a", collector="alive", open_until=soon, failures=3)
    world.change_cluster("b", collector="dead", cordoned_at=gone)
    world.change_cluster("c", pool="far")
    world.run(at=world.now - timedelta(seconds=61))
    world.run(Verdict.FAIL, at=world.now - timedelta(seconds=31))
    world.schedule("dns", "a", world.now - timedelta(seconds=7))
    world.schedule("dns", "b", world.now - timedelta(hours=7), paused_at=gone)
    found = read(world)
    assert (found.unprocessed_outcomes, found.oldest_unprocessed_s) == (2, 60)
    assert found.last_outcome_at == world.now - timedelta(seconds=30)
    assert found.overdue_schedule_s == 7
    assert found.clusters == {"default": 2, "far": 1}
    assert (found.unwatched_clusters, found.cordoned_clusters, found.open_breakers, found.collectors) == (2, 1, 1, 1)


def test_due_notifications_and_open_alerts_are_counted(world: World) -> None:
    first, second = alert(world, 1, is_open=True), alert(world, 2, is_open=False)
    notify(world, first, "opened", 25, NotificationState.PENDING)
    notify(world, first, "closed", 99, NotificationState.PENDING)  # replaces the opening
    notify(world, second, "opened", 70, NotificationState.SENT)
    notify(world, second, "closed", 60, NotificationState.SENDING)  # its sender's lease has expired
    found = read(world)
    assert (found.due_notifications, found.oldest_notification_s) == (2, 99)
    assert found.open_alerts == {("fail", "critical"): 1}


def test_reading_the_gauges_takes_four_statements_at_any_size(world: World) -> None:
    for number in range(40):
        world.cluster(f"prod-{number}")
        world.change_cluster(f"prod-{number}", pool=f"pool-{number}")
        world.opened(cluster=f"prod-{number}", case=f"case-{number}")
        world.run(cluster=f"prod-{number}", case=f"case-{number}")
    with statements(world.store) as sent:
        read(world)
    assert len(sent) == 4
