"""Notifications are delivered at least once, in order, without revealing secrets."""

import hashlib
import hmac
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import deliver, due_targets, respond
from kubeprobe.response.claim import LEASE
from kubeprobe.response.deliver import BACKOFF, MAX_ATTEMPTS, MAX_CRASHES
from kubeprobe.response.renewal import ClaimRenewals
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import AlertRoute, Notification
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.services.response.given import World, fail, recover, send, statements, stored
from tests.services.response.queries import undelivered
from tests.services.response.receiver import Receiver

P, F = Verdict.PASS, Verdict.FAIL
SENT, PENDING, FAILED = NotificationState.SENT, NotificationState.PENDING, NotificationState.FAILED
SENDING, DROPPED = NotificationState.SENDING, NotificationState.DROPPED
HOOK = TargetRef("team", "hook")
DELIVER: dict[str, Any] = deliver.__globals__


def test_a_webhook_gets_the_message_signed(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    notification = fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is SENT
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
    fail(world, catalogs)
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: send(world, catalogs, world.at(1)), range(8)))
    assert sorted(states, key=str) == [None] * 7 + [SENT]
    assert send(world, catalogs, world.at(60)) is None
    assert len(hook.received) == 1


def test_a_message_whose_worker_was_killed_is_sent_when_its_lease_ends(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(world, catalogs)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(DELIVER, "_send", die)
        with pytest.raises(KeyboardInterrupt):
            send(world, catalogs, world.at(1))
    almost, after = world.at(1) + LEASE - timedelta(seconds=1), world.at(1) + LEASE
    assert due_targets(world.store, almost) == []
    assert send(world, catalogs, almost) is None
    assert due_targets(world.store, after) == [HOOK]
    assert send(world, catalogs, after) is SENT
    assert len(hook.received) == 1


def test_a_worker_that_lost_its_lease_does_not_overwrite_the_next_result(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification = fail(world, catalogs)
    hook.answers = [(503, ""), (200, "")]
    real = DELIVER["_send"]

    def slow(claimed: Any, now: Any) -> None:
        monkeypatch.setitem(DELIVER, "_send", real)
        try:
            real(claimed, now)
        finally:
            monkeypatch.setitem(DELIVER, "_CLAIMS", ClaimRenewals())  # another process
            assert send(world, catalogs, world.at(1) + LEASE) is SENT

    monkeypatch.setitem(DELIVER, "_send", slow)
    assert send(world, catalogs, world.at(1)) is SENDING
    assert stored(world, notification).state == SENT


def test_attempts_to_an_unavailable_target_back_off(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    hook.answers = [(503, "later"), (429, "slower"), (200, "")]
    notification, now = fail(world, catalogs), world.at(1)
    for attempt in (1, 2):
        assert send(world, catalogs, now) is PENDING
        row = stored(world, notification)
        assert (row.attempts, row.next_attempt_at) == (attempt, now + BACKOFF.pause(attempt))
        assert due_targets(world.store, now) == []
        now = row.next_attempt_at
        assert due_targets(world.store, now) == [HOOK]
    assert send(world, catalogs, now) is SENT
    assert [request.headers["X-KubeProbe-Delivery"] for request in hook.received] == [notification] * 3
    assert stored(world, notification).last_error == ""


def test_an_unavailable_target_is_tried_until_it_accepts(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    hook.answers = [(500, "broken")]
    notification, now = fail(world, catalogs), world.at(1)
    for _ in range(MAX_ATTEMPTS + 3):
        assert send(world, catalogs, now) is PENDING
        now += timedelta(hours=1)
    (shown,) = undelivered(world.store, since=world.at(0))
    assert (shown.id, shown.attempts, shown.last_error) == (
        notification,
        MAX_ATTEMPTS + 3,
        "127.0.0.1 responded 500: broken",
    )
    hook.answers = [(200, "")]
    assert send(world, catalogs, now) is SENT


def test_a_message_that_is_rejected_while_others_are_accepted_is_kept_as_failed(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(500, "broken")]
    notification, now, others = fail(world, catalogs), world.at(1), 0
    states = []
    while FAILED not in states:
        states.append(send(world, catalogs, now))
        now += timedelta(hours=1)
        hook.answers = [(200, "")]
        others += 1
        world.cluster(f"other-{others}")
        world.outcome(F, 1, cluster=f"other-{others}")
        respond(world.store, catalogs, now)
        assert send(world, catalogs, now) is SENT, "it has not been rejected before, so it comes first"
        hook.answers = [(500, "broken")]
    assert states == [PENDING] * (MAX_ATTEMPTS - 1) + [FAILED]
    assert stored(world, notification).last_error == "127.0.0.1 responded 500: broken"


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
    fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is left
    assert len(hook.received) == 1, "a redirect must not be followed: the signature is for one address"


def test_neither_log_nor_store_contains_the_address_or_the_secret(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers = [(400, "no /hooks/T0KEN with key=k3yk3y here")]
    notification = fail(world, catalogs)
    with capture_logs() as logs:
        send(world, catalogs, world.at(1))
    shown = str(logs) + stored(world, notification).last_error
    assert "responded 400" in shown
    assert not [secret for secret in ("T0KEN", "k3yk3y", "hush-hush") if secret in shown]


def test_a_target_that_does_not_respond_times_out(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubeprobe.response.targets.posting.TIMEOUT_S", 0.2)
    hook.answers = [None]
    notification = fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is PENDING
    # Where connecting takes all of the time, aiohttp's error has a name of its own.
    assert re.fullmatch("no response from 127.0.0.1: (Connection)?TimeoutError", stored(world, notification).last_error)


@pytest.mark.parametrize(("status", "left"), [(200, SENT), (400, FAILED), (503, PENDING)])
def test_the_status_decides_although_the_body_never_comes(
    world: World, catalogs: CatalogCache, hook: Receiver, status: int, left: NotificationState
) -> None:
    hook.answers = [(status, None)]
    notification = fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is left
    assert len(hook.received) == 1
    assert stored(world, notification).last_error == (
        "" if left is SENT else f"127.0.0.1 responded {status}: begins and"
    )


def test_a_missing_secret_is_retried(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is PENDING
    assert hook.received == [], "never unsigned"
    monkeypatch.setenv("HOOK_SECRET", "hush-hush")
    assert send(world, catalogs, world.at(5)) is SENT


def test_a_stored_message_that_cannot_be_read_is_set_aside(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    broken = fail(world, catalogs)
    with world.store.writing() as session:
        session.get_one(Notification, broken).payload = {"kind": "no such kind"}
    world.cluster("prod-2")
    world.outcome(F, 1, cluster="prod-2")
    respond(world.store, catalogs, world.at(1))
    assert {send(world, catalogs, world.at(2)) for _ in range(2)} == {FAILED, SENT}
    assert stored(world, broken).last_error.startswith("the stored message is invalid")
    assert len(hook.received) == 1


def test_a_message_that_no_worker_survives_is_set_aside(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification, now = fail(world, catalogs), world.at(1)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kubeprobe.response.targets.send", die)
    for _ in range(MAX_CRASHES):
        with pytest.raises(KeyboardInterrupt):
            send(world, catalogs, now)
        now += LEASE
    assert send(world, catalogs, now) is FAILED
    assert "responders were killed" in stored(world, notification).last_error


def test_a_message_that_fails_unexpectedly_is_set_aside(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification, now = fail(world, catalogs), world.at(1)

    def err(*_: Any) -> None:
        raise LookupError("T0KEN")

    monkeypatch.setattr("kubeprobe.response.targets.send", err)
    states = []
    for _ in range(MAX_CRASHES):
        states.append(send(world, catalogs, now))
        now += BACKOFF.longest
    assert states == [PENDING] * (MAX_CRASHES - 1) + [FAILED]
    assert stored(world, notification).last_error.startswith("unexpected LookupError")
    assert "T0KEN" not in stored(world, notification).last_error


def test_a_target_that_was_removed_from_the_catalog_gets_no_message(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    notification = fail(world, catalogs)
    world.remove(AlertRoute, "team")
    assert send(world, catalogs, world.at(1)) is FAILED
    assert "no longer has a target 'hook' in a route 'team'" in stored(world, notification).last_error
    assert hook.received == []


def test_a_message_waits_while_its_route_is_invalid_in_this_version(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    notification = fail(world, catalogs)
    with world.store.reading() as session:
        (target,) = session.get_one(AlertRoute, "team").spec["targets"]
    world.route("team", {"name": "hook", "pigeon": {}})
    for minute in range(1, MAX_ATTEMPTS + 3):
        assert send(world, catalogs, world.at(30 * minute)) is PENDING
    assert "route 'team' is invalid in this version" in stored(world, notification).last_error
    world.route("team", target)
    assert send(world, catalogs, world.at(600)) is SENT


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
    assert send(world, catalogs, world.at(1), "chat") is PENDING
    error = stored(world, notification).last_error
    assert error.startswith("Apprise could not deliver: Failed to send JSON POST")
    assert "T0KEN" not in error + caplog.text
    assert send(world, catalogs, world.at(5), "chat") is SENT
    body = orjson.loads(receiver.received[-1].body)
    assert body["title"] == "[warning] pod-lifecycle fails on prod-1"
    assert body["message"].startswith("ReportedFailure")
    assert body["type"] == "failure"


def test_a_date_to_wait_for_is_compared_with_the_clock_of_the_installation(
    world: World, catalogs: CatalogCache, hook: Receiver
) -> None:
    hook.answers, hook.headers = [(429, "slower")], {"Retry-After": format_datetime(world.at(31), usegmt=True)}
    notification = fail(world, catalogs)
    assert send(world, catalogs, world.at(1)) is PENDING
    assert stored(world, notification).next_attempt_at == world.at(31)


@pytest.mark.parametrize(
    ("answer", "left"), [((200, None), SENT), ((400, "no"), FAILED), ((404, None), FAILED), ((429, "slow"), PENDING)]
)
def test_the_status_decides_for_apprise_too(
    world: World, catalogs: CatalogCache, receiver: Receiver, answer: tuple[int, str | None], left: NotificationState
) -> None:
    receiver.answers = [answer]
    world.route("team", {"name": "chat", "apprise": {"url": receiver.url.replace("http://", "json://")}})
    fail(world, catalogs)
    assert send(world, catalogs, world.at(1), "chat") is left
    assert len(receiver.received) == 1


def test_the_log_is_a_target(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "log", "log": {}})
    fail(world, catalogs)
    with capture_logs() as logs:
        assert send(world, catalogs, world.at(1), "log") is SENT
        recover(world, catalogs, 2)
        assert send(world, catalogs, world.at(2), "log") is SENT
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", "[warning] pod-lifecycle fails on prod-1"),
        ("info", "[recovered] pod-lifecycle passes again on prod-1"),
    ]


def test_listing_due_notifications_reads_the_outbox_index_only(world: World, catalogs: CatalogCache) -> None:
    with statements(world.store) as seen:
        due_targets(world.store, world.at(1))
    assert len(seen) == 1
    assert "notification.state IN ('pending', 'sending')" in seen[0]
