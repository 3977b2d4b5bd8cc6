"""Views of the fleet, clusters, alerts and health."""

from datetime import timedelta

from sqlalchemy import event

from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.health.facts import database_clock, fleet_health, run_health
from kubeprobe.store import Alert, Collector, Run
from kubeprobe.views import AlertFilter, Shown, count_alerts, fleet_status, list_alerts, list_clusters
from kubeprobe.vocabulary import Verdict
from tests.services.views.given import World

MINUTE = timedelta(minutes=1)


def shown(world: World, selector: str = "") -> dict[tuple[str, str], Shown]:
    with world.store.reading() as session:
        found = fleet_status(session, world.now, parse_selector(selector))
    return {(cell.case, cell.cluster): cell.shown for cell in found.cells}


def test_each_cell_shows_the_last_verdict(world: World) -> None:
    for name, verdict in (("a", Verdict.PASS), ("b", Verdict.FAIL), ("c", Verdict.UNKNOWN)):
        world.cluster(name)
        world.standing("dns", name, verdict)
    assert shown(world) == {("dns", "a"): Shown.PASS, ("dns", "b"): Shown.FAIL, ("dns", "c"): Shown.UNKNOWN}


def test_a_scheduled_case_without_an_outcome_is_shown_as_never_run(world: World) -> None:
    world.cluster("a")
    world.schedule("dns", "a", world.now + MINUTE)
    assert shown(world) == {("dns", "a"): Shown.NEVER}


def test_a_pass_with_an_overdue_schedule_is_stale(world: World) -> None:
    world.cluster("a")
    world.standing("dns", "a", Verdict.PASS)
    world.schedule("dns", "a", world.now - 10 * MINUTE)
    assert shown(world) == {("dns", "a"): Shown.STALE}


def test_a_paused_schedule_is_not_overdue(world: World) -> None:
    world.cluster("a")
    world.standing("dns", "a", Verdict.PASS)
    world.schedule("dns", "a", world.now - 10 * MINUTE, paused_at=world.now)
    assert shown(world) == {("dns", "a"): Shown.PASS}


def test_an_expired_open_run_makes_its_cell_stale(world: World) -> None:
    world.cluster("prod-1")
    world.standing("dns", "prod-1", Verdict.PASS)
    run_id = world.opened()
    with world.store.writing() as session:
        session.get_one(Run, run_id).expires_at = world.now - 2 * MINUTE
    assert shown(world) == {("dns", "prod-1"): Shown.STALE}


def test_a_cordoned_cluster_hides_its_verdict(world: World) -> None:
    world.cluster("a")
    world.change_cluster("a", cordoned_at=world.now)
    world.standing("dns", "a", Verdict.FAIL)
    assert shown(world) == {("dns", "a"): Shown.CORDONED}


def test_a_selector_filters_the_clusters(world: World) -> None:
    world.cluster("a", region="eu")
    world.cluster("b", region="us")
    for name in ("a", "b"):
        world.standing("dns", name, Verdict.PASS)
    assert shown(world, "region=us") == {("dns", "b"): Shown.PASS}


def test_outcomes_overdue_for_a_responder_are_counted(world: World) -> None:
    world.run(at=world.now - 5 * MINUTE)
    world.run(at=world.now)
    with world.store.reading() as session:
        assert fleet_status(session, world.now).unprocessed == 1


def test_open_alerts_are_filtered_by_cluster(world: World) -> None:
    with world.store.writing() as session:
        for number, (cluster, closed) in enumerate((("a", False), ("a", True), ("b", False))):
            session.add(
                Alert(
                    id=str(number),
                    cluster=cluster,
                    case="dns",
                    kind="fail",
                    reason="ReportedFailure",
                    first_run_id="",
                    last_run_id="",
                    opened_at=world.now + number * MINUTE,
                    closed_at=world.now if closed else None,
                )
            )
    with world.store.reading() as session:
        assert [alert.id for alert in list_alerts(session).items] == ["2", "0"]
        assert [alert.id for alert in list_alerts(session, AlertFilter(clusters={"a"})).items] == ["0"]
        assert count_alerts(session, AlertFilter(open_only=False)) == 3


def test_clusters_show_their_load_and_collector(world: World) -> None:
    world.cluster("prod-1")
    world.cluster("prod-2")
    world.change_cluster("prod-2", open_until=world.now + MINUTE)
    world.change_cluster("prod-1", collector="c1")
    with world.store.writing() as session:
        session.add(Collector(name="c1", pool="default", leased_until=world.now + MINUTE))
    world.opened()
    run_id = world.opened()
    with world.store.writing() as session:
        session.get_one(Run, run_id).state = "running"
    with world.store.reading() as session:
        first, second = list_clusters(session, world.now).items
    assert (first.in_flight, first.collector, first.state) == (1, "c1", "ready")
    assert (second.in_flight, second.collector, second.state) == (0, None, "unreachable")


def test_health_counts_overdue_work(world: World) -> None:
    long_ago = world.now - 10 * MINUTE
    world.schedule("dns", "prod-1", long_ago)
    world.schedule("pods", "prod-1", world.now + MINUTE)
    world.opened(at=long_ago)
    world.run(at=long_ago)
    with world.store.reading() as session:
        found = run_health(session, world.now)
    assert (found.schedules, found.overdue_schedules, found.unsent, found.unprocessed) == (2, 1, {"default": 1}, 1)
    assert found.waiting == {"default": 1}
    assert found.overdue == 0
    assert found.undelivered == ()


def test_health_lists_collectors_and_unwatched_clusters(world: World) -> None:
    world.cluster("a")
    world.cluster("b")
    world.change_cluster("a", collector="c1")
    world.change_cluster("b", open_until=world.now + MINUTE, cordoned_at=world.now)
    with world.store.writing() as session:
        session.add(Collector(name="c1", pool="default", leased_until=world.now + MINUTE))
        session.add(Collector(name="dead", pool="default", leased_until=world.now))
    with world.store.reading() as session:
        found = fleet_health(session, world.now)
    assert (found.pools, found.collectors, found.unwatched) == ({"default": 2}, {"default": 1}, {"default": ("b",)})
    assert (found.unreachable, found.cordoned, found.unbound) == (("b",), ("b",), ("a", "b"))


def test_the_fleet_takes_seven_statements_at_any_size(world: World) -> None:
    for number in range(30):
        world.cluster(f"c{number}")
        world.standing("dns", f"c{number}", Verdict.PASS)
        world.schedule("dns", f"c{number}", world.now + MINUTE)
    statements: list[str] = []
    event.listen(world.store.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with world.store.reading() as session:
        assert len(fleet_status(session, world.now).cells) == 30
    assert len([text for text in statements if text.startswith("SELECT")]) == 7


def test_the_database_server_has_a_clock_and_sqlite_has_none(world: World) -> None:
    with world.store.reading() as session:
        server_time = database_clock(session)
    if world.store.engine.dialect.name == "sqlite":
        assert server_time is None
    else:
        assert server_time is not None
        assert server_time.tzinfo is not None
