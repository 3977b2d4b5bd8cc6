"""A sync may take longer than its claim's lifetime, and what reads files is no part of its transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from kubeprobe.sources import sync, sync_due
from kubeprobe.sources.mirror import Mirror
from kubeprobe.store import Source, Store
from tests.harness.wait import until
from tests.services.sources.given import OTHER_CASE, World


@contextmanager
def paused_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Iterator[threading.Event]:
    """Stops threads before a function until the block ends; the event is set when one is there."""
    original, is_there, go_on = getattr(owner, name), threading.Event(), threading.Event()

    def stopping(*args: object, **options: object) -> object:
        is_there.set()
        assert go_on.wait(60)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, stopping)
    try:
        yield is_there
    finally:
        go_on.set()


def test_a_claim_is_renewed_while_a_sync_takes_longer_than_its_lifetime(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add()
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    world.now += timedelta(minutes=1)
    context = replace(world.context, renew_every_s=0.01)
    results: list[sync.SyncResult] = []
    with paused_at(monkeypatch, Mirror, "fetch") as is_fetching:
        thread = threading.Thread(target=lambda: results.extend(sync_due(context)))
        thread.start()
        assert is_fetching.wait(60)
        for _ in range(3):
            world.now += sync.CLAIM_LIFETIME - timedelta(seconds=1)
            until("a renewal", lambda: world.source().claimed_until == world.now + sync.CLAIM_LIFETIME)
            assert sync._claim_due(world.context, 1, ()) == [], "another process"
    thread.join(60)
    assert [result.error for result in results] == [""]
    assert world.cases() == {"dns", "other"}
    assert world.source().claimed_until is None


def test_a_renewal_that_waits_for_the_result_does_not_hold_the_claim_again(world: World) -> None:
    world.add()
    released = world.source()
    assert released.claimed_until is None
    with sync._renewing(replace(world.context, renew_every_s=0.0), released):
        until("renewals", lambda: not [t for t in threading.enumerate() if t.name == "claim of team"])
    assert world.source().claimed_until is None


def test_a_claim_that_another_process_has_is_not_renewed(world: World) -> None:
    world.add()
    lost = world.source()
    sync._claim_due(replace(world.context, clock=lambda: world.now + timedelta(hours=1)), 1, ())
    before = world.source()
    assert before.claim == lost.claim + 1
    with sync._renewing(replace(world.context, renew_every_s=0.0), lost):
        until("renewals", lambda: not [t for t in threading.enumerate() if t.name == "claim of team"])
    assert world.source().claimed_until == before.claimed_until


def test_no_file_is_read_while_the_store_is_locked_for_writing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading thousands of kubeconfigs takes minutes, and SQLite has one writer."""
    writing = threading.local()
    original = Store.writing

    @contextmanager
    def marked(store: Store) -> Iterator[Session]:
        with original(store) as session:
            writing.now = True
            try:
                yield session
            finally:
                writing.now = False

    def checked(*arguments: Any) -> object:
        assert not getattr(writing, "now", False), "read within a transaction"
        return connect(*arguments)

    connect = type(world.context.connector).connect
    monkeypatch.setattr(Store, "writing", marked)
    monkeypatch.setattr(type(world.context.connector), "connect", checked)
    world.add()
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    assert world.poll()[0].error == ""
    assert sync.sync_now(world.context, "team").error == ""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL refuses such values
@pytest.mark.parametrize(("column", "value"), [("created_at", "soon"), ("applied_at", "soon"), ("declared", "{cut")])
def test_a_source_whose_row_cannot_be_read_stops_no_other(world: World, column: str, value: str) -> None:
    world.add()
    with world.context.store.writing() as session:
        copied = ", ".join(c.name for c in Source.__table__.c if c.name != "name")
        connection = session.connection()
        connection.exec_driver_sql(f"INSERT INTO source (name, {copied}) SELECT 'broken', {copied} FROM source")
        connection.exec_driver_sql(f"UPDATE source SET {column} = ? WHERE name = 'broken'", (value,))
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    assert [result.source for result in world.poll()] == ["team"]
    assert world.cases() == {"dns", "other"}
    with world.context.store.reading() as session:
        assert "cannot be read" in session.exec(select(Source.error).where(Source.name == "broken")).one()
