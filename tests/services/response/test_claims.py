"""What a claim costs while many messages wait, and that it is renewed while its message is being sent."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import deliver, due_targets, renewal, respond
from kubeprobe.response.claim import LEASE, MAX_DROPS, claim_next
from kubeprobe.response.renewal import RENEW_EVERY, ClaimRenewals
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Alert, Notification, Store
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.harness.wait import until
from tests.services.response.given import World, fail, recover, send, statements, stored
from tests.services.response.receiver import Receiver

F = Verdict.FAIL
SENT, PENDING, DROPPED = NotificationState.SENT, NotificationState.PENDING, NotificationState.DROPPED
SENDING = NotificationState.SENDING
HOOK = TargetRef("team", "hook")
DELIVER: dict[str, Any] = deliver.__globals__
WAITING, HISTORY = 4000, 4000


def rows(world: World, target: str, subjects: int, each: int, **values: Any) -> None:
    """Write so many messages to a target about each of so many clusters, each message about an alert of its own."""
    alert = {"case": "dns", "kind": "fail", "reason": "x", "first_run_id": "r", "last_run_id": "r", "closed_at": None}
    alerts, messages = [], []
    for subject in range(subjects):
        for number in range(each):
            about = {"cluster": f"c{subject}", "case": "dns", "node": "", "kind": "fail"}
            name = f"{target}{subject:05d}-{number:05d}"
            is_last = number == each - 1
            closed = None if is_last and values.get("state") != SENT else world.noon
            alerts.append({**alert, **about, "id": name, "node": name, "opened_at": world.noon, "closed_at": closed})
            messages.append(
                {
                    **about,
                    "id": name,
                    "alert_id": name,
                    "event": "opened",
                    "route": "team",
                    "target": target,
                    "version": number,
                    "payload": {},
                    "next_attempt_at": world.noon,
                    **values,
                }
            )
    with world.store.writing() as session:
        session.execute(insert(Alert), alerts)
        session.execute(insert(Notification), messages)
    with world.store.writing() as session:
        session.connection().execute(text("ANALYZE"))


@contextmanager
def plans(store: Store) -> Iterator[list[str]]:
    """The query plans of the statements about notifications that are executed, on PostgreSQL with what they read."""
    found: list[str] = []
    is_sqlite = store.engine.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN (ANALYZE, TIMING OFF) "

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE")) and "FROM notification" in statement.replace("\n", " "):
            cursor.execute(explain + statement, parameters)
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def test_a_claim_reads_few_rows_however_many_messages_wait(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "hook", "webhook": {"url": "http://hook.example"}})
    rows(world, "hook", WAITING, 1)
    rows(world, "other", WAITING, 1)
    rows(world, "sent", 1, HISTORY, state=SENT, sent_at=world.noon, may_have_arrived=True)
    with plans(world.store) as found:
        claimed = claim_next(world.store, catalogs, HOOK, lambda: world.at(1))
        assert claimed is not None
    assert len(found) == 3, "what is being sent, the next message, what it replaces"
    for plan in found:
        assert "SCAN notification" not in plan
        assert "Seq Scan" not in plan
        assert "TEMP B-TREE" not in plan
        read = [int(number) for number in re.findall(r"actual rows=([\d]+)", plan)]
        assert all(number <= 5 for number in read), plan
        assert not re.search(r"Rows Removed by Filter: \d{2}", plan), plan


def test_a_claim_reads_few_rows_of_a_long_history(world: World, catalogs: CatalogCache) -> None:
    world.route("team", {"name": "hook", "webhook": {"url": "http://hook.example"}})
    sent = {"state": SENT, "sent_at": world.noon, "may_have_arrived": True}
    rows(world, "hook", 1, HISTORY, **sent)
    rows(world, "other", HISTORY, 1, **sent)
    with world.store.writing() as session:
        session.get_one(Notification, "hook00000-03999").state = PENDING
    with plans(world.store) as found:
        claimed = claim_next(world.store, catalogs, HOOK, lambda: world.at(1))
        assert claimed is not None
        assert claimed.version == HISTORY - 1
    for plan in found:
        assert "SCAN notification" not in plan
        assert all(int(number) <= 5 for number in re.findall(r"actual rows=([\d]+)", plan)), plan


@pytest.mark.parametrize("is_failing", [True, False])
def test_what_newer_messages_replace_is_dropped_a_few_at_a_time(
    world: World,
    catalogs: CatalogCache,
    hook: Receiver,
    is_failing: bool,  # noqa: FBT001
) -> None:
    """Of each of many subjects a few hundred messages wait: one is sent for each, and none is left."""
    subjects, each = 4, MAX_DROPS + 20
    if is_failing:
        hook.answers = [(503, ""), (200, "")]
        fail(world, catalogs)
        assert send(world, catalogs, world.at(1)) is PENDING
    rows(world, "hook", subjects, each, payload={"kind": "unreadable"})
    now, claimed = world.at(30), list[int]()

    def clock() -> datetime:
        return now

    while (one := claim_next(world.store, catalogs, HOOK, clock)) is not None:
        claimed.append(one.version)
        now += LEASE + timedelta(seconds=1)
        with world.store.writing() as session:
            session.get_one(Notification, one.id).state = SENT
    assert sorted(claimed)[:subjects] == [each - 1] * subjects
    assert len(claimed) == subjects + is_failing
    states = [row.state for row in world.all(Notification) if row.case == "dns"]
    assert sorted(states) == [DROPPED] * subjects * (each - 1) + [SENT] * subjects


def test_a_claim_is_renewed_while_its_message_is_being_sent(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes, no other worker sends the message, or a newer one about the same subject."""
    fail(world, catalogs)
    claims, real = ClaimRenewals(), DELIVER["_send"]
    monkeypatch.setitem(DELIVER, "_CLAIMS", claims)
    now = world.at(1)

    def clock() -> datetime:
        return now

    def slow(claimed: Any, at: datetime) -> None:
        nonlocal now
        monkeypatch.setitem(DELIVER, "_send", real)
        recover(world, catalogs, 1)
        for _ in range(10):
            now += RENEW_EVERY
            claims.renew()
            assert due_targets(world.store, now) == []
            assert claim_next(world.store, catalogs, HOOK, clock) is None
        now += LEASE  # the database was unavailable
        assert send(world, catalogs, now) is None
        real(claimed, at)

    monkeypatch.setitem(DELIVER, "_send", slow)
    assert deliver(world.store, catalogs, HOOK, clock) is SENT
    assert deliver(world.store, catalogs, HOOK, clock) is SENT
    assert [request.headers["X-KubeProbe-Event"] for request in hook.received] == ["failed", "recovered"]


def test_a_thread_renews_the_claims_of_a_process(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_EVERY", timedelta(milliseconds=10))
    notification = fail(world, catalogs)
    claimed = claim_next(world.store, catalogs, HOOK, lambda: world.at(1))
    assert claimed is not None
    now = world.at(1)
    with ClaimRenewals().renewing(world.store, claimed, lambda: now):
        now = world.at(5)
        lease = now + LEASE
        until("the claim to be renewed", lambda: stored(world, notification).next_attempt_at == lease)


def test_no_renewal_uses_the_store_after_its_message_was_sent(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is closed meanwhile would leave its connection open."""
    fail(world, catalogs)
    claimed = claim_next(world.store, catalogs, HOOK, lambda: world.at(1))
    assert claimed is not None
    claims, begun, may_end, ended = ClaimRenewals(), threading.Event(), threading.Event(), threading.Event()

    def renew(_sending: object) -> None:
        begun.set()
        assert may_end.wait(60)
        ended.set()

    def send() -> bool:
        with claims.renewing(world.store, claimed, lambda: world.at(1)):
            renewing.append(pool.submit(claims.renew))
            assert begun.wait(60)
            threading.Timer(0.1, may_end.set).start()
        return ended.is_set()

    monkeypatch.setattr(renewal, "_renew", renew)
    renewing: list[Future[None]] = []
    with ThreadPoolExecutor() as pool:
        assert send()
        renewing[0].result(60)


def test_a_claim_is_made_by_the_time_and_the_catalog_after_its_wait(
    world: World, catalogs: CatalogCache, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for the target's row can be longer than a lease, and the target can be changed in it."""
    notification, current = fail(world, catalogs), catalogs.current
    with statements(world.store) as executed:

        def check() -> None:
            assert any("INTO target_health" in one for one in executed)
            assert any("FROM target_health" in one for one in executed)

        def clock() -> datetime:
            check()
            return world.at(1)

        def checked(session: Any) -> Any:
            check()
            return current(session)

        monkeypatch.setattr(catalogs, "current", checked)
        claimed = claim_next(world.store, catalogs, HOOK, clock)
    assert claimed is not None
    assert claimed.lease == stored(world, notification).next_attempt_at == world.at(1) + LEASE


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_claim_that_lapsed_before_its_message_is_sent_is_renewed_or_given_up(
    world: World,
    catalogs: CatalogCache,
    hook: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    is_lost: bool,  # noqa: FBT001
) -> None:
    """Its commit took long."""
    notification, now, real = fail(world, catalogs), world.at(1), DELIVER["_send"]

    def slow(*args: Any) -> Any:
        nonlocal now
        claimed = claim_next(*args)
        now = world.at(2)
        if is_lost:
            assert claim_next(world.store, catalogs, HOOK, lambda: now) is not None
        return claimed

    def sending(claimed: Any, at: datetime) -> None:
        assert stored(world, notification).next_attempt_at == world.at(2) + LEASE
        real(claimed, at)

    monkeypatch.setitem(DELIVER, "claim_next", slow)
    monkeypatch.setitem(DELIVER, "_send", sending)
    state = deliver(world.store, catalogs, HOOK, lambda: now)
    row = stored(world, notification)
    if is_lost:
        assert (state, row.state, row.attempts) == (SENDING, SENDING, 2)
        assert hook.received == []
    else:
        assert (state, row.state, row.attempts) == (SENT, SENT, 1)


def test_a_killed_workers_message_is_sent_within_seconds(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    notification = fail(world, catalogs)
    assert claim_next(world.store, catalogs, HOOK, lambda: world.at(1)) is not None
    assert timedelta(seconds=20) >= LEASE >= 3 * RENEW_EVERY
    assert send(world, catalogs, world.at(1) + LEASE) is SENT
    assert stored(world, notification).attempts == 2


def test_a_renewal_changes_no_claim_of_another_worker(world: World, catalogs: CatalogCache, hook: Receiver) -> None:
    notification = fail(world, catalogs)
    claims = ClaimRenewals()
    lost = claim_next(world.store, catalogs, HOOK, lambda: world.at(1))
    assert lost is not None
    now = world.at(1)
    with claims.renewing(world.store, lost, lambda: now):
        now = world.at(90)
        assert claim_next(world.store, catalogs, HOOK, lambda: world.at(2)) is not None
        claims.renew()
        assert stored(world, notification).next_attempt_at == world.at(2) + LEASE
    world.outcome(F, 3)
    respond(world.store, catalogs, world.at(3))
