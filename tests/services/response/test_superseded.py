"""Messages to a target arrive in order, and what is no longer true is not sent."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.health.facts import run_health
from kubeprobe.response import deliver, due_targets, respond
from kubeprobe.response.claim import LEASE
from kubeprobe.response.renewal import ClaimRenewals
from kubeprobe.response.routes import TargetRef
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.services.response.given import World, fail, recover, send, stored
from tests.services.response.receiver import Receiver

P, F = Verdict.PASS, Verdict.FAIL
SENT, PENDING, FAILED = NotificationState.SENT, NotificationState.PENDING, NotificationState.FAILED
SENDING, DROPPED = NotificationState.SENDING, NotificationState.DROPPED
HOOK = TargetRef("team", "hook")
DELIVER: dict[str, Any] = deliver.__globals__


def kinds(receiver: Receiver) -> list[str]:
    """The kinds of the messages that arrived, however they were answered."""
    return [orjson.loads(request.body)["kind"] for request in receiver.received]


def test_the_closing_waits_for_the_opening_that_is_being_sent(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(world, catalogs)
    real = DELIVER["_send"]

    def slow(claimed: Any, now: Any) -> None:
        monkeypatch.setitem(DELIVER, "_send", real)
        recover(world, catalogs, 2)
        assert due_targets(world.store, world.at(1.1)) == []
        assert send(world, catalogs, world.at(1.5)) is None
        real(claimed, now)

    monkeypatch.setitem(DELIVER, "_send", slow)
    assert send(world, catalogs, world.at(1)) is SENT
    assert send(world, catalogs, world.at(2)) is SENT
    assert kinds(hook) == ["failed", "recovered"]


def test_a_recovery_is_not_sent_after_a_newer_failure(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    fail(world, catalogs, 1)
    assert send(world, catalogs, world.at(1)) is SENT
    hook.answers = [(503, "later")]
    recovery = recover(world, catalogs, 2)
    assert send(world, catalogs, world.at(2)) is PENDING
    again = fail(world, catalogs, 3)
    hook.answers = [(200, "")]
    assert send(world, catalogs, world.at(4)) is SENT
    assert send(world, catalogs, world.at(60)) is None
    assert (stored(world, recovery).state, stored(world, again).state) == (DROPPED, SENT)
    assert kinds(hook) == ["failed", "recovered", "failed"], "the recovery was refused, and is not sent again"
    bodies = [orjson.loads(request.body) for request in hook.received]
    assert bodies[0]["version"] < bodies[1]["version"] < bodies[2]["version"]
    recover(world, catalogs, 70)
    assert send(world, catalogs, world.at(70)) is SENT
    assert kinds(hook)[3:] == ["recovered"]


@pytest.mark.parametrize(("status", "received"), [(503, []), (500, ["recovered"])])
def test_an_opening_that_was_not_accepted_is_dropped_when_the_alert_closes(
    world: World, catalogs: CatalogCache, hook: Receiver, status: int, received: list[str]
) -> None:
    """503 refuses. After a 500 the target may have accepted it, and then needs the recovery."""
    hook.answers = [(status, ""), (200, "")]
    opening = fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is PENDING
    closing = recover(world, catalogs, 2)
    assert send(world, catalogs, world.at(3)) is (SENT if received else None)
    assert send(world, catalogs, world.at(60)) is None
    assert kinds(hook)[1:] == received
    assert stored(world, opening).state == DROPPED
    assert stored(world, closing).state == (SENT if received else DROPPED)


def test_a_target_that_refused_the_opening_gets_no_closing(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(404, "")]
    fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is FAILED
    closing = recover(world, catalogs, 2)
    assert send(world, catalogs, world.at(2)) is None
    assert stored(world, closing).state == DROPPED
    assert "never received the opening" in stored(world, closing).last_error
    assert len(hook.received) == 1


def test_a_worker_that_sends_after_its_lease_ended_is_corrected(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(world, catalogs)
    real = DELIVER["_send"]

    def much_too_late(claimed: Any, now: Any) -> None:
        monkeypatch.setitem(DELIVER, "_send", real)
        monkeypatch.setitem(DELIVER, "_CLAIMS", ClaimRenewals())  # another process
        assert send(world, catalogs, world.at(1) + LEASE) is SENT
        recover(world, catalogs, 3)
        assert send(world, catalogs, world.at(3)) is SENT
        real(claimed, now)

    monkeypatch.setitem(DELIVER, "_send", much_too_late)
    assert send(world, catalogs, world.at(1)) is SENDING
    assert kinds(hook) == ["failed", "recovered", "failed"]
    assert send(world, catalogs, world.at(4)) is SENT
    assert kinds(hook)[3:] == ["recovered"]


def test_doctor_shows_a_target_that_fails_with_another_message_each_time(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(503, "down")]
    now = world.at(1)
    for number in range(3):
        world.cluster(f"other-{number}")
        world.outcome(F, 1, cluster=f"other-{number}")
    respond(world.store, catalogs, now)
    for _ in range(3):
        assert send(world, catalogs, now) is PENDING
        now += timedelta(minutes=5)
    with world.store.reading() as session:
        assert run_health(session, now).undelivered == (
            "team/hook: 127.0.0.1 responded 503: down (failing since 2026-11-23 12:01 UTC)",
        )
