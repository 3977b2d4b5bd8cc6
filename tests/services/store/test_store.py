"""The store behaves the same on both databases."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.engine import make_url
from sqlmodel import select

from kubeprobe.store import Change, Installation, Store, insert_ignoring_conflicts, is_rejection, on_commit


def test_times_are_read_aware_and_in_utc(store: Store, now: datetime) -> None:
    local = now.astimezone(timezone(timedelta(hours=5)))
    with store.writing() as session:
        session.add(Change(id="c1", component="coredns", happened_at=local))
    with store.reading() as session:
        found = session.exec(select(Change)).one().happened_at
    assert found == now
    assert found.utcoffset() == timedelta(0)


def test_a_naive_time_is_rejected(store: Store, now: datetime) -> None:
    with pytest.raises(Exception, match="no time zone"), store.writing() as session:
        session.add(Change(id="c1", component="coredns", happened_at=now.replace(tzinfo=None)))


def test_the_unique_key_decides_which_insert_was_first(store: Store, now: datetime) -> None:
    rows = [{"id": "c1", "component": "a", "version": "", "clusters": [], "details": {}, "happened_at": now}]
    with store.writing() as session:
        first = session.execute(insert_ignoring_conflicts(session, Change, rows).returning(Change.id)).all()
        second = session.execute(insert_ignoring_conflicts(session, Change, rows).returning(Change.id)).all()
    assert [len(first), len(second)] == [1, 0]


def test_a_transaction_that_raises_is_rolled_back(store: Store, now: datetime) -> None:
    def fail_half_way() -> None:
        with store.writing() as session:
            session.add(Change(id="c1", component="a", happened_at=now))
            session.flush()
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        fail_half_way()
    with store.reading() as session:
        assert session.exec(select(Change)).first() is None


def test_an_action_after_a_commit_runs_then_and_its_error_undoes_nothing(store: Store, now: datetime) -> None:
    ran: list[str] = []

    def fail() -> None:
        ran.append("failed")
        raise ValueError("of the action")

    with store.writing() as session:
        session.add(Installation(id="first", created_at=now))
        on_commit(session, fail)
        on_commit(session, lambda: ran.append("second"))
        assert ran == []
    assert ran == ["failed", "second"]

    def roll_back() -> None:
        with store.writing() as session:
            on_commit(session, lambda: ran.append("never"))
            raise RuntimeError("of the transaction")

    with pytest.raises(RuntimeError):
        roll_back()
    assert ran == ["failed", "second"]
    with store.reading() as session:
        assert "first" in session.exec(select(Installation.id)).all()


@pytest.mark.parametrize(
    "values",
    [
        {"details": {"a": object()}},
        {"happened_at": "noon"},
        {"happened_at": None},
        {"component": None},
        {"id": "known"},
    ],
)
def test_values_that_the_database_does_not_accept_are_a_rejection(
    store: Store, now: datetime, values: dict[str, Any]
) -> None:
    row = {"id": "new", "component": "a", "version": "", "clusters": [], "details": {}, "happened_at": now}
    with store.writing() as session:
        session.add(Change(**row | {"id": "known"}))
    with pytest.raises(Exception, match=r".") as caught, store.writing() as session:
        session.execute(insert(Change), [row | values])
    assert is_rejection(caught.value), repr(caught.value)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite stores NUL
def test_a_text_that_postgresql_does_not_store_is_a_rejection(store: Store, now: datetime) -> None:
    with pytest.raises(Exception, match="NUL") as caught, store.writing() as session:
        session.add(Change(id="c1", component="a\0", happened_at=now))
    assert is_rejection(caught.value), repr(caught.value)


@pytest.mark.parametrize("address", ["sqlite:////nowhere/kubeprobe.db", "postgresql://u:p@127.0.0.1:1/db"])
def test_a_database_that_is_unavailable_is_not_a_rejection(address: str) -> None:
    with pytest.raises(Exception, match=r".") as caught, Store(create_engine(make_url(address))).reading() as session:
        session.exec(select(Change)).first()
    assert not is_rejection(caught.value), repr(caught.value)
    assert not is_rejection(ConnectionResetError())
