"""Outcomes become standings, alerts and notifications, in one transaction."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import respond
from kubeprobe.store import Alert, Notification, Outcome, ProbeCase, Standing
from kubeprobe.vocabulary import AlertKind, Reason, Trigger, Verdict
from tests.services.response.given import World, statements

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
LOG = {"name": "log", "log": {}}
MODULE = respond.__globals__
"""The globals of the module `respond`: the package exports the function under the module's name."""


def process(world: World, catalogs: CatalogCache, minute: float = 30, limit: int = 500) -> Any:
    return respond(world.store, catalogs, world.at(minute), limit).deliver


def alerts(world: World) -> list[Alert]:
    return world.all(Alert, Alert.opened_at, Alert.kind)


def notified(world: World) -> list[tuple[str, str, str]]:
    rows = world.all(Notification, Notification.id)
    return sorted((row.payload["since"], row.event, row.payload["kind"]) for row in rows)


def test_a_fail_opens_an_alert_and_notifies_every_target_once(world: World, catalogs: CatalogCache) -> None:
    world.case(severity="critical", owner="platform", runbook="https://runbooks.example/pods")
    world.route("team", LOG, {"name": "second", "log": {}})
    run = world.outcome(F, 1, message="2 errors", report={"ok": False, "errors": ["not ready", "not gone"]})
    assert process(world, catalogs) == [("team", "log"), ("team", "second")]
    (alert,) = alerts(world)
    assert (alert.kind, alert.severity, alert.reason) == ("fail", "critical", "ReportedFailure")
    assert (alert.first_run_id, alert.last_run_id, alert.closed_at) == (run, run, None)
    assert alert.opened_at == world.at(1)
    rows = world.all(Notification, Notification.target)
    assert [(row.route, row.target, row.state) for row in rows] == [
        ("team", "log", "pending"),
        ("team", "second", "pending"),
    ]
    assert rows[0].payload["owner"] == "platform"
    assert rows[0].payload["errors"] == ["not ready", "not gone"]


def test_a_pass_closes_the_alert_and_notifies_the_targets_of_the_opening(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG)
    world.outcome(F, 1)
    process(world, catalogs)
    world.route("late", LOG)
    world.outcome(F, 2)
    run = world.outcome(P, 3)
    assert process(world, catalogs) == [("team", "log")]
    (alert,) = alerts(world)
    assert (alert.closed_at, alert.last_run_id) == (world.at(3.1), run)
    closing = [row for row in world.all(Notification) if row.event == "closed"]
    assert [(row.route, row.payload["kind"]) for row in closing] == [("team", "recovered")]


def test_processed_outcomes_are_not_processed_again(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG)
    world.outcome(F, 1)
    assert len(process(world, catalogs)) == 1
    assert process(world, catalogs) == []
    assert len(alerts(world)) == 1


def test_unknowns_open_an_alert_of_kind_unknown(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG)
    world.case(unknownAfter=2)
    for minute in range(2):
        world.outcome(U, minute)
    process(world, catalogs)
    world.outcome(F, 3)
    process(world, catalogs)
    assert [(found.kind, found.closed_at is None) for found in alerts(world)] == [("unknown", False), ("fail", True)]
    assert [kind for _, _, kind in notified(world)] == ["verdict-restored", "unknown", "failed"]


def test_passing_as_before_costs_two_statements_and_writes_no_standing(world: World, catalogs: CatalogCache) -> None:
    names = [f"steady-{number}" for number in range(300)]
    world.cluster(*names)
    for minute in (1, 2):
        for name in names:
            world.outcome(P, minute, cluster=name)
        with statements(world.store) as seen:
            assert process(world, catalogs) == []
    assert len(seen) == 2, seen
    assert {row.due_at for row in world.all(Standing)} == {world.at(1)}
    assert all(row.responded_at == world.at(30) for row in world.all(Outcome))


def test_a_batch_of_fails_costs_a_fixed_number_of_statements(world: World, catalogs: CatalogCache) -> None:
    names = [f"failing-{number}" for number in range(200)]
    world.cluster(*names)
    world.route("team", LOG)
    counts = []
    for minute, some in ((1, names[:20]), (2, names)):
        for name in some:
            world.outcome(F, minute, cluster=name)
        with statements(world.store) as seen:
            process(world, catalogs)
        counts.append(len(seen))
    assert max(counts) <= 20, counts
    assert len(alerts(world)) == 200


def test_late_outcomes_are_detected_though_a_steady_pass_is_not_written(world: World, catalogs: CatalogCache) -> None:
    for minute in (1, 2, 3):
        world.outcome(P, minute)
        process(world, catalogs)
    world.outcome(F, 2.5, stored=4)
    process(world, catalogs)
    assert alerts(world) == []
    assert world.all(Standing)[0].verdict == P
    world.outcome(F, 5)
    process(world, catalogs)
    assert len(alerts(world)) == 1


def test_a_skipped_slot_does_not_make_the_long_run_before_it_late(world: World, catalogs: CatalogCache) -> None:
    world.outcome(P, 1)
    process(world, catalogs)
    world.outcome(U, 3, reason=Reason.STILL_RUNNING)
    process(world, catalogs)
    world.outcome(F, 2, stored=5)
    process(world, catalogs)
    assert len(alerts(world)) == 1


STORY = [P, F, F, P, U, U, U, F, P, F, U, P, P, F]


@pytest.mark.parametrize("limit", [1, 3, 500])
def test_the_size_of_batches_does_not_matter(world: World, catalogs: CatalogCache, limit: int) -> None:
    world.route("team", LOG)
    for minute, verdict in enumerate(STORY):
        world.outcome(verdict, minute)
    for _ in STORY:
        process(world, catalogs, limit=limit)
    assert [(found.kind, found.opened_at, found.closed_at) for found in alerts(world)] == [
        ("fail", world.at(1), world.at(3.1)),
        ("unknown", world.at(4), world.at(7.1)),
        ("fail", world.at(7), world.at(8.1)),
        ("fail", world.at(9), world.at(11.1)),
        ("fail", world.at(13), None),
    ]
    assert len(notified(world)) == 9
    (standing,) = world.all(Standing)
    assert (standing.verdict, standing.fails, standing.since) == (F, 1, world.at(13))


def test_outcomes_are_folded_in_the_order_in_which_they_were_due(world: World, catalogs: CatalogCache) -> None:
    world.outcome(P, 2, stored=3)
    world.outcome(F, 1, stored=4)
    process(world, catalogs)
    (alert,) = alerts(world)
    assert alert.closed_at is not None


def test_a_cordoned_cluster_opens_no_alert_until_it_is_uncordoned(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG)
    world.cordon("prod-1", at=world.at(0))
    world.outcome(F, 1)
    assert process(world, catalogs) == []
    assert world.all(Standing)[0].fails == 1
    assert alerts(world) == []
    world.cordon("prod-1", at=None)
    world.outcome(F, 2)
    assert len(process(world, catalogs)) == 1


def test_a_removed_case_and_a_removed_cluster_open_no_alert(world: World, catalogs: CatalogCache) -> None:
    world.outcome(F, 1, cluster="gone")
    world.outcome(F, 1, case="gone")
    process(world, catalogs)
    assert alerts(world) == []


def test_an_alert_without_a_route_is_logged(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG, cases=["dns"])
    world.outcome(F, 1)
    with capture_logs() as logs:
        assert process(world, catalogs) == []
    assert [(entry["log_level"], entry["title"]) for entry in logs] == [
        ("warning", "[warning] pod-lifecycle fails on prod-1")
    ]
    assert len(alerts(world)) == 1


def test_a_route_matches_the_labels_of_the_cluster(world: World, catalogs: CatalogCache) -> None:
    world.route("eu", LOG, clusterSelector={"matchLabels": {"region": "eu"}})
    world.route("us", LOG, clusterSelector={"matchLabels": {"region": "us"}})
    world.outcome(F, 1)
    process(world, catalogs)
    assert [row.route for row in world.all(Notification)] == ["eu"]


def test_a_manual_run_counts_unless_it_was_given_parameters_of_its_own(world: World, catalogs: CatalogCache) -> None:
    world.outcome(P, 1)
    process(world, catalogs)
    world.outcome(F, 2, parameters={"TARGET": "elsewhere"})
    process(world, catalogs)
    assert alerts(world) == []
    world.outcome(F, 1.5, stored=3)
    process(world, catalogs)
    assert len(alerts(world)) == 1, "a run that asked something else must not make others late"
    world.outcome(P, 4, trigger=Trigger.MANUAL)
    process(world, catalogs)
    assert alerts(world)[0].closed_at is not None


def test_a_rollback_leaves_all_outcomes_to_the_next_responder(
    world: World, catalogs: CatalogCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.route("team", LOG)
    world.outcome(F, 1)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(MODULE, "write_notifications", die)
        with pytest.raises(KeyboardInterrupt):
            process(world, catalogs)
    assert [world.all(kind) for kind in (Standing, Alert, Notification)] == [[], [], []]
    assert len(process(world, catalogs)) == 1


def test_the_second_to_insert_a_standing_reads_the_first(
    world: World, catalogs: CatalogCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.outcome(F, 1)
    process(world, catalogs)
    world.outcome(F, 2)
    real, blind = MODULE["read_standings"], [True]

    def read(*arguments: Any) -> Any:
        return {} if blind and blind.pop() else real(*arguments)

    monkeypatch.setitem(MODULE, "read_standings", read)
    process(world, catalogs)
    (standing,) = world.all(Standing)
    assert standing.fails == 2
    assert len(alerts(world)) == 1


def test_a_changed_case_takes_effect_with_the_next_outcome(world: World, catalogs: CatalogCache) -> None:
    world.case(alertAfter=5)
    for minute in (1, 2):
        world.outcome(F, minute)
    process(world, catalogs)
    assert alerts(world) == []
    world.case(alertAfter=3)
    world.outcome(F, 3)
    process(world, catalogs)
    assert [found.kind for found in alerts(world)] == [AlertKind.FAIL]
    world.remove(ProbeCase, "pod-lifecycle")
    world.outcome(P, 4)
    process(world, catalogs)
    assert alerts(world)[0].closed_at is not None
