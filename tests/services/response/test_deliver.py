"""Notifications are delivered at least once, in order, without revealing secrets."""

import hashlib
import hmac
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import deliver, due_notifications, respond
from kubeprobe.response.deliver import BACKOFF, LEASE, MAX_ATTEMPTS
from kubeprobe.store import AlertRoute, Notification
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.services.response.given import World, statements
from tests.services.response.queries import undelivered
from tests.services.response.receiver import Receiver

P, F = Verdict.PASS, Verdict.FAIL
SENT, PENDING, FAILED = NotificationState.SENT, NotificationState.PENDING, NotificationState.FAILED


@pytest.fixture
def hook(world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """A signed webhook that receives all alerts."""
    monkeypatch.setenv("HOOK_SECRET", "hush-hush")
    target = {"url": f"{receiver.url}/hooks/T0KEN?key=k3yk3y", "secretFrom": {"env": "HOOK_SECRET"}}
    world.route("team", {"name": "hook", "webhook": target})
    return receiver


def fail(world: World, catalogs: CatalogCache, minute: float = 1) -> str:
    world.outcome(F, minute)
    (notification,) = respond(world.store, catalogs, world.at(minute)).deliver
    return notification


def recover(world: World, catalogs: CatalogCache, minute: float) -> str:
    world.outcome(P, minute)
    (notification,) = respond(world.store, catalogs, world.at(minute)).deliver
    return notification


def stored(world: World, notification: str) -> Notification:
    return next(row for row in world.all(Notification) if row.id == notification)


def test_a_webhook_gets_the_message_signed(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    notification = fail(world, catalogs)
    assert deliver(world.store, catalogs, notification, world.at(1)) is SENT
    (request,) = hook.received
    body = orjson.loads(request.body)
    assert request.path == "/hooks/T0KEN?key=k3yk3y"
    assert (body["delivery"], body["kind"], body["case"], body["cluster"]) == (
        notification,
        "failed",
        "pod-lifecycle",
        "prod-1",
    )
    assert request.headers["X-KubeProbe-Delivery"] == notification
    assert request.headers["X-KubeProbe-Event"] == "failed"
    parts = dict(part.split("=") for part in request.headers["X-KubeProbe-Signature"].split(","))
    assert int(parts["t"]) == world.at(1).timestamp()
    assert parts["v1"] == hmac.new(b"hush-hush", f"{parts['t']}.".encode() + request.body, hashlib.sha256).hexdigest()


def test_concurrent_deliveries_send_a_message_once(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    notification = fail(world, catalogs)
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: deliver(world.store, catalogs, notification, world.at(1)), range(8)))
    assert sorted(states, key=str) == [None] * 7 + [SENT]
    assert deliver(world.store, catalogs, notification, world.at(60)) is None
    assert len(hook.received) == 1


def test_a_message_whose_worker_was_killed_is_sent_when_its_lease_ends(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification = fail(world, catalogs)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(deliver.__globals__, "_send", die)
        with pytest.raises(KeyboardInterrupt):
            deliver(world.store, catalogs, notification, world.at(1))
    almost, after = world.at(1) + LEASE - timedelta(seconds=1), world.at(1) + LEASE
    assert due_notifications(world.store, almost) == []
    assert deliver(world.store, catalogs, notification, almost) is None
    assert due_notifications(world.store, after) == [notification]
    assert deliver(world.store, catalogs, notification, after) is SENT
    assert len(hook.received) == 1


def test_a_worker_that_lost_its_lease_does_not_overwrite_the_next_result(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification = fail(world, catalogs)
    hook.answers = [(503, ""), (200, "")]
    real = deliver.__globals__["_send"]

    def slow(claimed: Any, now: Any) -> None:
        monkeypatch.setitem(deliver.__globals__, "_send", real)
        try:
            real(claimed, now)
        finally:
            assert deliver(world.store, catalogs, notification, world.at(1) + LEASE) is SENT

    monkeypatch.setitem(deliver.__globals__, "_send", slow)
    assert deliver(world.store, catalogs, notification, world.at(1)) is None
    assert stored(world, notification).state == SENT


def test_attempts_to_an_unavailable_target_back_off(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    hook.answers = [(503, "later"), (429, "slower"), (200, "")]
    notification, now = fail(world, catalogs), world.at(1)
    for attempt in (1, 2):
        assert deliver(world.store, catalogs, notification, now) is PENDING
        row = stored(world, notification)
        assert (row.attempts, row.next_attempt_at) == (attempt, now + BACKOFF.pause(attempt))
        assert due_notifications(world.store, now) == []
        now = row.next_attempt_at
        assert due_notifications(world.store, now) == [notification]
    assert deliver(world.store, catalogs, notification, now) is SENT
    assert [request.headers["X-KubeProbe-Delivery"] for request in hook.received] == [notification] * 3
    assert stored(world, notification).last_error == ""


def test_after_the_last_attempt_a_message_is_kept_as_failed(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(500, "broken")]
    notification, now = fail(world, catalogs), world.at(1)
    states = []
    for _ in range(MAX_ATTEMPTS):
        states.append(deliver(world.store, catalogs, notification, now))
        now += timedelta(hours=1)
    assert states == [PENDING] * (MAX_ATTEMPTS - 1) + [FAILED]
    assert due_notifications(world.store, now) == []
    (shown,) = undelivered(world.store, since=world.at(0))
    assert (shown.id, shown.attempts, shown.last_error) == (
        notification,
        MAX_ATTEMPTS,
        "127.0.0.1 responded 500: broken",
    )


@pytest.mark.parametrize(
    ("status", "left"),
    [
        (200, SENT),
        (204, SENT),
        (302, FAILED),
        (400, FAILED),
        (401, FAILED),
        (404, FAILED),
        (408, PENDING),
        (500, PENDING),
    ],
)
def test_the_status_of_a_response_decides_about_retries(
    world: World, catalogs: CatalogCache, hook: Receiver, status: int, left: NotificationState
) -> None:
    hook.answers = [(status, "")]
    assert deliver(world.store, catalogs, fail(world, catalogs), world.at(1)) is left
    assert len(hook.received) == 1, "a redirect must not be followed: the signature is for one address"


def test_neither_log_nor_store_contains_the_address_or_the_secret(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(400, "no /hooks/T0KEN with key=k3yk3y here")]
    notification = fail(world, catalogs)
    with capture_logs() as logs:
        deliver(world.store, catalogs, notification, world.at(1))
    shown = str(logs) + stored(world, notification).last_error
    assert "responded 400" in shown
    assert not [secret for secret in ("T0KEN", "k3yk3y", "hush-hush") if secret in shown]


def test_a_target_that_does_not_respond_times_out(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubeprobe.response.targets.posting.TIMEOUT_S", 0.2)
    hook.answers = [None]
    notification = fail(world, catalogs)
    assert deliver(world.store, catalogs, notification, world.at(1)) is PENDING
    # Where connecting takes all of the time, aiohttp's error has a name of its own.
    assert re.fullmatch("no response from 127.0.0.1: (Connection)?TimeoutError", stored(world, notification).last_error)


def test_a_missing_secret_is_retried(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    notification = fail(world, catalogs)
    assert deliver(world.store, catalogs, notification, world.at(1)) is PENDING
    assert hook.received == [], "never unsigned"
    monkeypatch.setenv("HOOK_SECRET", "hush-hush")
    assert deliver(world.store, catalogs, notification, world.at(5)) is SENT


def test_the_opening_is_delivered_before_the_closing(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    hook.answers = [(503, ""), (200, "")]
    opening = fail(world, catalogs)
    assert deliver(world.store, catalogs, opening, world.at(1)) is PENDING
    closing = recover(world, catalogs, 2)
    early = world.at(1) + timedelta(seconds=5)
    assert deliver(world.store, catalogs, closing, early) is None
    assert due_notifications(world.store, world.at(3)) == [opening]
    assert deliver(world.store, catalogs, opening, world.at(3)) is SENT
    assert due_notifications(world.store, world.at(3)) == [closing]
    assert deliver(world.store, catalogs, closing, world.at(3)) is SENT
    assert [orjson.loads(request.body)["kind"] for request in hook.received[1:]] == ["failed", "recovered"]


def test_a_target_that_never_received_the_opening_gets_no_closing(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(404, "")]
    assert deliver(world.store, catalogs, fail(world, catalogs), world.at(1)) is FAILED
    world.outcome(P, 2)
    assert respond(world.store, catalogs, world.at(2)).deliver == []


def test_an_opening_that_fails_after_the_closing_was_written_fails_the_closing(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(503, ""), (404, "")]
    opening = fail(world, catalogs)
    deliver(world.store, catalogs, opening, world.at(1))
    closing = recover(world, catalogs, 2)
    assert deliver(world.store, catalogs, opening, world.at(3)) is FAILED
    assert deliver(world.store, catalogs, closing, world.at(3)) is FAILED
    assert "never received the opening" in stored(world, closing).last_error
    assert len(hook.received) == 2


def test_a_target_that_was_removed_from_the_catalog_gets_no_message(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    notification = fail(world, catalogs)
    world.remove(AlertRoute, "team")
    assert deliver(world.store, catalogs, notification, world.at(1)) is FAILED
    assert "no longer has a target 'hook' in a route 'team'" in stored(world, notification).last_error
    assert hook.received == []


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_apprise_sends_the_message(
    world: World,
    catalogs: CatalogCache,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("CHAT", receiver.url.replace("http://", "json://") + "/chat/T0KEN")
    world.route("team", {"name": "chat", "apprise": {"urlFrom": {"env": "CHAT"}}})
    notification = fail(world, catalogs)
    receiver.answers = [(500, ""), (200, "")]
    assert deliver(world.store, catalogs, notification, world.at(1)) is PENDING
    error = stored(world, notification).last_error
    assert error.startswith("Apprise could not deliver: Failed to send JSON POST")
    assert "T0KEN" not in error + caplog.text
    assert deliver(world.store, catalogs, notification, world.at(5)) is SENT
    body = orjson.loads(receiver.received[-1].body)
    assert body["title"] == "[warning] pod-lifecycle fails on prod-1"
    assert body["message"].startswith("ReportedFailure")
    assert body["type"] == "failure"


def test_the_log_is_a_target(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "log", "log": {}})
    opening = fail(world, catalogs)
    with capture_logs() as logs:
        assert deliver(world.store, catalogs, opening, world.at(1)) is SENT
        assert deliver(world.store, catalogs, recover(world, catalogs, 2), world.at(2)) is SENT
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", "[warning] pod-lifecycle fails on prod-1"),
        ("info", "[recovered] pod-lifecycle passes again on prod-1"),
    ]


def test_listing_due_notifications_reads_the_outbox_index_only(world: World, catalogs: CatalogCache) -> None:
    with statements(world.store) as seen:
        due_notifications(world.store, world.at(1))
    assert len(seen) == 1
    assert "notification.state IN ('pending', 'sending')" in seen[0]
