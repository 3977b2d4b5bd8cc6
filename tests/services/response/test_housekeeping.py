"""Open alerts are repeated, withdrawn ones are closed, old ones are deleted."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.effects import Effects
from kubeprobe.health.facts import run_health
from kubeprobe.response import (
    close_withdrawn,
    delete_old_alerts,
    delete_old_errors,
    due_targets,
    repeat_alerts,
    respond,
)
from kubeprobe.response.deliver import BACKOFF, MAX_ATTEMPTS, MAX_CRASHES
from kubeprobe.response.housekeeping import REPEAT_REFUSED_EVERY
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Alert, Cluster, Notification, ProbeCase, ResponseError, Standing
from kubeprobe.vocabulary import NotificationState, Reason, Verdict
from tests.services.response.given import World, newest, send, statements, stored
from tests.services.response.queries import Wanted, alerts, notifications_of, standings
from tests.services.response.receiver import Receiver

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
SENT, PENDING, FAILED = NotificationState.SENT, NotificationState.PENDING, NotificationState.FAILED
DROPPED = NotificationState.DROPPED
AM, LOG = TargetRef("am", "am"), TargetRef("team", "log")


@pytest.fixture
def alertmanager(world: World, receiver: Receiver) -> Receiver:
    """A route to a receiver that responds like Alertmanager."""
    world.route("am", {"name": "am", "alertmanager": {"url": receiver.url}})
    return receiver


def fire(world: World, catalogs: CatalogCache, minute: float = 1) -> str:
    world.outcome(F, minute)
    (to,) = respond(world.store, catalogs, world.at(minute)).deliver
    send(world, catalogs, world.at(minute), to[1], to[0])
    return newest(world)


def test_an_open_alert_is_repeated_to_alertmanager_only(
    world: World, catalogs: CatalogCache, alertmanager: Receiver
) -> None:
    world.route("team", {"name": "log", "log": {}})
    world.outcome(F, 1)
    assert respond(world.store, catalogs, world.at(1)).deliver == [AM, LOG]
    for due in due_targets(world.store, world.at(1)):
        assert send(world, catalogs, world.at(1), due.target, due.route) is SENT
    assert repeat_alerts(world.store, catalogs, world.at(1.5)).deliver == []
    for minute in (2, 3):
        assert repeat_alerts(world.store, catalogs, world.at(minute)).deliver == [AM]
        assert send(world, catalogs, world.at(minute), "am", "am") is SENT
    assert len(alertmanager.received) == 3


def test_a_closed_alert_is_not_repeated(world: World, catalogs: CatalogCache, alertmanager: Receiver) -> None:
    fire(world, catalogs)
    world.outcome(P, 2)
    assert respond(world.store, catalogs, world.at(2)).deliver == [AM]
    assert repeat_alerts(world.store, catalogs, world.at(3)).deliver == []
    assert send(world, catalogs, world.at(3), "am", "am") is SENT
    assert len(alertmanager.received) == 2


def test_a_repeat_after_the_recovery_is_not_sent(world: World, catalogs: CatalogCache, alertmanager: Receiver) -> None:
    opening = fire(world, catalogs)
    assert repeat_alerts(world.store, catalogs, world.at(2)).deliver == [AM]
    world.outcome(P, 2)
    assert respond(world.store, catalogs, world.at(2)).deliver == [AM]
    assert send(world, catalogs, world.at(3), "am", "am") is SENT
    assert send(world, catalogs, world.at(3), "am", "am") is None
    assert [orjson.loads(request.body)[0]["annotations"]["summary"][:11] for request in alertmanager.received] == [
        "[warning] p",
        "[recovered]",
    ]
    assert next(row for row in world.all(Notification) if row.id == opening).state == DROPPED


def test_an_open_alert_is_retried_while_alertmanager_is_unavailable(
    world: World, catalogs: CatalogCache, alertmanager: Receiver
) -> None:
    alertmanager.answers = [(503, "")]
    now = world.at(1)
    fire(world, catalogs)
    for _ in range(MAX_ATTEMPTS + 3):
        now += BACKOFF.longest
        assert send(world, catalogs, now, "am", "am") is PENDING
    alertmanager.answers = [(200, "")]
    assert send(world, catalogs, now + BACKOFF.longest, "am", "am") is SENT


def test_an_open_alert_is_retried_after_unexpected_errors(
    world: World, catalogs: CatalogCache, alertmanager: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = world.at(1)
    fire(world, catalogs)
    repeat_alerts(world.store, catalogs, world.at(3))

    def err(*_: Any) -> None:
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr("kubeprobe.response.targets.send", err)
        for attempt in range(2 * MAX_CRASHES):
            now += BACKOFF.longest
            assert send(world, catalogs, now, "am", "am") is (PENDING if attempt < MAX_CRASHES - 1 else FAILED)
            now += REPEAT_REFUSED_EVERY
            repeat_alerts(world.store, catalogs, now)
    assert send(world, catalogs, now, "am", "am") is SENT


@pytest.mark.parametrize("status", [400, 500])
def test_a_repeat_that_is_always_refused_holds_up_no_other_alert_of_its_subject(
    world: World, catalogs: CatalogCache, alertmanager: Receiver, status: int
) -> None:
    """`status`: of each repeat. Alertmanager accepts the alerts of other subjects, so it is not unavailable."""
    world.case(unknownAfter=1)
    opening = fire(world, catalogs)
    alertmanager.answers = [(200, "")]
    now, repeated = world.at(2), 0
    while (state := next(row.state for row in world.all(Notification) if row.id == opening)) != FAILED:
        if state == SENT:
            repeat_alerts(world.store, catalogs, now)
        alertmanager.answers = [(status, "refused"), (200, "")]
        assert send(world, catalogs, now, "am", "am") in {PENDING, FAILED}
        now += timedelta(hours=1)
        other = f"other-{repeated}"
        world.cluster(other)
        world.outcome(F, 1, cluster=other)
        respond(world.store, catalogs, now)
        assert send(world, catalogs, now, "am", "am") is SENT
        repeated += 1
    assert repeated == (1 if status == 400 else MAX_ATTEMPTS)
    world.outcome(U, 2)
    respond(world.store, catalogs, now)
    assert send(world, catalogs, now, "am", "am") is SENT
    assert b"KubeProbeUnknown" in alertmanager.received[-1].body
    with world.store.reading() as session:
        assert any("refused" in shown for shown in run_health(session, now).undelivered)
    now += REPEAT_REFUSED_EVERY
    assert repeat_alerts(world.store, catalogs, now).deliver == [AM]
    repeats = {send(world, catalogs, now, "am", "am") for _ in range(repeated + 2)}
    assert repeats == {SENT}
    assert stored(world, opening).state == SENT, "corrected meanwhile"


def test_without_an_alertmanager_repeating_costs_one_statement(world: World, catalogs: CatalogCache) -> None:
    assert repeat_alerts(world.store, catalogs, world.at(1)) == Effects()


@pytest.mark.parametrize("gone", ["case", "cluster"])
def test_a_withdrawn_alert_is_closed_but_not_called_recovered(world: World, catalogs: CatalogCache, gone: str) -> None:
    world.route("team", {"name": "log", "log": {}})
    world.cluster("prod-2")
    world.case("dns")
    world.outcome(F, 1, cluster="prod-2", case="dns")
    respond(world.store, catalogs, world.at(1))
    fire_other = newest(world)
    fire(world, catalogs)
    assert close_withdrawn(world.store, catalogs, world.at(2)).deliver == []
    if gone == "case":
        world.remove(ProbeCase, "dns")
    else:
        world.remove(Cluster, "prod-2")
    assert close_withdrawn(world.store, catalogs, world.at(3)).deliver == [LOG]
    closing = newest(world)
    assert close_withdrawn(world.store, catalogs, world.at(4)).deliver == []
    row = next(row for row in world.all(Notification) if row.id == closing)
    assert (row.payload["kind"], row.payload["title"]) == ("withdrawn", "[withdrawn] dns on prod-2: no longer probed")
    assert [found.case for found in alerts(world.store)] == ["pod-lifecycle"]
    assert [found.case for found in world.all(Standing)] == ["pod-lifecycle"]
    assert row.alert_id == next(n.alert_id for n in world.all(Notification) if n.id == fire_other)


def test_alerts_of_an_unreadable_case_stay_open_and_its_outcomes_count(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "log", "log": {}}, severities=["critical"], owners=["net"])
    world.case(severity="critical", owner="net", newer=1)
    world.case("dns")
    for minute in (1, 2, 3):
        world.outcome(U, minute, reason=Reason.NOT_LAUNCHED)
        respond(world.store, catalogs, world.at(minute))
    assert [(found.kind, found.severity) for found in alerts(world.store)] == [("unknown", "critical")]
    world.outcome(F, 4)
    assert respond(world.store, catalogs, world.at(4)).deliver == [LOG]
    assert close_withdrawn(world.store, catalogs, world.at(5)).deliver == []
    assert [(found.kind, found.severity) for found in alerts(world.store)] == [("fail", "critical")]
    world.outcome(P, 6)
    respond(world.store, catalogs, world.at(6))
    assert alerts(world.store) == []
    assert len(world.all(Standing)) == 1


def test_a_withdrawn_alert_is_closed_once_despite_a_late_outcome(world: World, catalogs: CatalogCache) -> None:
    fire_at = 1
    world.outcome(F, fire_at)
    respond(world.store, catalogs, world.at(fire_at))
    world.remove(ProbeCase, "pod-lifecycle")
    close_withdrawn(world.store, catalogs, world.at(2))
    world.outcome(P, 3)
    respond(world.store, catalogs, world.at(3))
    (alert,) = world.all(Alert)
    assert alert.closed_at == world.at(2)


def test_old_alerts_are_deleted_with_their_notifications(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "log", "log": {}})
    fire(world, catalogs, 1)
    world.outcome(P, 2)
    respond(world.store, catalogs, world.at(2))
    fire(world, catalogs, 3)
    assert delete_old_alerts(world.store, before=world.at(2)) == 0
    assert delete_old_alerts(world.store, before=world.at(30)) == 1
    (left,) = world.all(Alert)
    assert left.closed_at is None
    assert {row.alert_id for row in world.all(Notification)} == {left.id}


def test_deleting_a_batch_of_old_alerts_searches_nothing_else(world: World, catalogs: CatalogCache) -> None:
    with statements(world.store) as seen:
        assert delete_old_alerts(world.store, before=world.at(2)) == 0
    assert [statement.split()[0] for statement in seen] == ["SELECT", "DELETE", "DELETE"]
    with world.store.writing() as session:
        for name, minute in (("old", 1), ("new", 3)):
            error = ResponseError(
                cluster=name, case="c", run_id="r", error="e", outcomes=1, since=world.at(0), last_at=world.at(minute)
            )
            session.add(error)
    delete_old_errors(world.store, before=world.at(2))
    assert [row.cluster for row in world.all(ResponseError)] == ["new"]


def test_alerts_are_listed_newest_first_and_filtered(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "log", "log": {}})
    world.cluster("prod-2")
    for minute, verdict, cluster in ((1, F, "prod-1"), (2, P, "prod-1"), (3, F, "prod-2"), (4, F, "prod-1")):
        world.outcome(verdict, minute, cluster=cluster)
    respond(world.store, catalogs, world.at(5))
    shown = alerts(world.store)
    assert [(found.cluster, found.opened_at) for found in shown] == [("prod-1", world.at(4)), ("prod-2", world.at(3))]
    assert len(alerts(world.store, Wanted(open_only=False))) == 3
    assert [found.cluster for found in alerts(world.store, Wanted(cluster="prod-2"))] == ["prod-2"]
    assert alerts(world.store, Wanted(case="dns")) == []
    assert [row.target for row in notifications_of(world.store, shown[0].id)] == ["log"]
    assert [found.verdict for found in standings(world.store, "prod-2")] == ["fail"]
