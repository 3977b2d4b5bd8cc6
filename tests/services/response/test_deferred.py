"""Targets that were unreadable, removed or wrong, and what is sent to them once they are corrected."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from sqlmodel import col

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import delete_removed_targets, due_effects, notify_deferred, respond
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Alert, AlertRoute, Notification, Outcome, TargetHealth
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.services.response.given import World, fail, recover, send, stored
from tests.services.response.receiver import Receiver

P, F = Verdict.PASS, Verdict.FAIL
SENT, PENDING, FAILED = NotificationState.SENT, NotificationState.PENDING, NotificationState.FAILED
HOOK = TargetRef("team", "hook")


def target(receiver: Receiver, path: str = "hook") -> dict[str, Any]:
    return {"name": "hook", "webhook": {"url": f"{receiver.url}/{path}"}}


def received(receiver: Receiver) -> list[str]:
    return [orjson.loads(request.body)["kind"] for request in receiver.received]


@pytest.mark.parametrize("is_outcome_stored", [True, False])
def test_an_alert_that_opened_while_its_route_was_unreadable_is_sent_once_it_is_readable(
    world: World,
    catalogs: CatalogCache,
    receiver: Receiver,
    is_outcome_stored: bool,  # noqa: FBT001
) -> None:
    world.route("other", {"name": "log", "log": {}})
    world.route("team", target(receiver), newer=["condition"])
    run = world.outcome(F, 1, report={"errors": ["no such host"]})
    assert respond(world.store, catalogs, world.at(1)).deliver == [("other", "log")]
    assert not notify_deferred(world.store, catalogs, world.at(2)).deliver
    if not is_outcome_stored:
        world.delete_outcome(run)
    world.route("team", target(receiver))
    assert notify_deferred(world.store, catalogs, world.at(3)).deliver == [HOOK]
    assert not notify_deferred(world.store, catalogs, world.at(4)).deliver
    assert send(world, catalogs, world.at(4)) is SENT
    (request,) = receiver.received
    body = orjson.loads(request.body)
    assert (body["kind"], body["run"], body["reason"]) == ("failed", run, "ReportedFailure")
    assert body["errors"] == (["no such host"] if is_outcome_stored else [])
    recover(world, catalogs, 5)
    assert send(world, catalogs, world.at(5)) is SENT
    assert received(receiver) == ["failed", "recovered"]


def test_a_target_that_was_unreadable_within_its_route_is_notified_once_it_is_readable(
    world: World, catalogs: CatalogCache, receiver: Receiver
) -> None:
    world.route("team", {"name": "log", "log": {}}, {"name": "hook", "pigeon": {}})
    world.outcome(F, 1)
    assert respond(world.store, catalogs, world.at(1)).deliver == [("team", "log")]
    world.route("team", {"name": "log", "log": {}}, target(receiver))
    assert notify_deferred(world.store, catalogs, world.at(2)).deliver == [HOOK]
    assert len(world.all(Notification)) == 2, "the log has the message already"


def test_an_alert_that_closed_before_its_route_was_readable_is_not_sent(
    world: World, catalogs: CatalogCache, receiver: Receiver
) -> None:
    world.route("team", target(receiver), newer=["condition"])
    world.outcome(F, 1)
    world.outcome(P, 2)
    respond(world.store, catalogs, world.at(3))
    world.route("team", target(receiver))
    assert not notify_deferred(world.store, catalogs, world.at(3)).deliver
    world.outcome(F, 4)
    respond(world.store, catalogs, world.at(4))
    world.route("late", target(receiver))
    assert not notify_deferred(world.store, catalogs, world.at(5)).deliver, "a new route is for new alerts"


def test_an_invalid_alert_stops_no_other_from_being_sent_late(
    world: World, catalogs: CatalogCache, receiver: Receiver
) -> None:
    world.cluster("prod-2")
    world.route("team", target(receiver), newer=["condition"])
    for cluster in ("prod-1", "prod-2"):
        world.outcome(F, 1, cluster=cluster)
    respond(world.store, catalogs, world.at(1))
    with world.store.writing() as session:
        session.execute(update(Alert).where(col(Alert.cluster) == "prod-1").values(kind="odd"))
    world.route("team", target(receiver))
    for minute, notified in ((2, [HOOK]), (3, [])):
        assert notify_deferred(world.store, catalogs, world.at(minute)).deliver == notified
        assert [row.cluster for row in world.all(Notification)] == ["prod-2"]
    with world.store.writing() as session:
        session.execute(update(Alert).where(col(Alert.cluster) == "prod-1").values(kind="fail"))
    assert notify_deferred(world.store, catalogs, world.at(4)).deliver == [HOOK]


@pytest.mark.parametrize("is_claimed_first", [True, False])
def test_a_corrected_target_waits_for_no_pause(
    world: World,
    catalogs: CatalogCache,
    receiver: Receiver,
    is_claimed_first: bool,  # noqa: FBT001
) -> None:
    world.route("team", target(receiver, "wrong"))
    receiver.answers = [(503, "")]
    fail(world, catalogs)
    now = world.at(1)
    for _ in range(6):
        assert send(world, catalogs, now) is PENDING
        now += timedelta(minutes=10)
    assert not due_effects(world.store, catalogs, now - timedelta(minutes=9)).deliver
    world.route("team", target(receiver))
    receiver.answers = [(200, "")]
    at = now - timedelta(minutes=9)
    if not is_claimed_first:
        assert due_effects(world.store, catalogs, at).deliver == [HOOK]
    assert send(world, catalogs, at) is SENT
    assert receiver.received[-1].path == "/hook"


def test_a_corrected_target_gets_what_the_wrong_one_refused_if_it_is_still_true(
    world: World, catalogs: CatalogCache, receiver: Receiver
) -> None:
    world.cluster("prod-2")
    world.route("team", target(receiver, "wrong"))
    receiver.answers = [(404, "")]
    kept = fail(world, catalogs, 1)
    world.outcome(F, 1, cluster="prod-2")
    respond(world.store, catalogs, world.at(1))
    assert {send(world, catalogs, world.at(1)) for _ in range(2)} == {FAILED}
    world.outcome(P, 2, cluster="prod-2")
    respond(world.store, catalogs, world.at(2))
    world.route("team", target(receiver))
    receiver.answers = [(200, "")]
    assert due_effects(world.store, catalogs, world.at(3)).deliver == [HOOK]
    assert send(world, catalogs, world.at(3)) is SENT
    assert send(world, catalogs, world.at(3)) is None
    assert stored(world, kept).state == SENT
    assert received(receiver)[2:] == ["failed"]
    assert not due_effects(world.store, catalogs, world.at(99)).deliver


def test_only_removed_targets_that_nothing_waits_for_are_forgotten(
    world: World, catalogs: CatalogCache, receiver: Receiver
) -> None:
    receiver.answers = [(503, "")]
    for name in ("kept", "unreadable", "removed", "removed-later"):
        world.route(name, target(receiver))
    fail(world, catalogs)
    for name in ("kept", "unreadable", "removed", "removed-later"):
        assert send(world, catalogs, world.at(1), route=name) is PENDING
    world.remove(AlertRoute, "removed")
    world.route("unreadable", target(receiver), newer=["condition"])
    assert send(world, catalogs, world.at(30), route="removed") is FAILED
    world.remove(AlertRoute, "removed-later")
    delete_removed_targets(world.store, catalogs)
    assert {row.route for row in world.all(TargetHealth)} == {"kept", "unreadable", "removed-later"}
    assert len(world.all(Outcome)) == 1
