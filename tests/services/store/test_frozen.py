"""PostgreSQL that is frozen, or that waits for a lock: every statement ends with an error, and the pool recovers."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session
from structlog.testing import capture_logs

from kubeprobe.store import Store, StoreClock, open_store
from kubeprobe.store import postgresql as limits
from kubeprobe.store.clock import MEASURE_EVERY
from tests.harness.freeze import frozen
from tests.harness.postgresql import postgresql_server
from tests.harness.wait import until

SHORT = timedelta(seconds=1)
LATE = r"no answer from the server within 1 s|timeout expired|statement timeout"
"""Errors of a statement that took longer than a short time-out."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own: it is frozen."""
    with postgresql_server() as address:
        yield address


@pytest.fixture
def postmaster(server: str) -> int:
    """Its process."""
    store = open_store(server)
    with store.reading() as session:
        found = _postmaster(session)
    store.close()
    return found


@pytest.fixture
def store(server: str, postmaster: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """With short time-outs, and a connection in its pool."""
    monkeypatch.setattr(limits, "ANSWER_LATE", timedelta(0))
    opened = open_store(f"{server}?connect_timeout=2", SHORT)
    until("a connection", lambda: _works(opened))
    yield opened
    opened.close()


def test_a_frozen_server_delays_no_statement_longer_than_its_time_out(store: Store, postmaster: int) -> None:
    with frozen(postmaster):
        for _ in range(2):  # over a connection of the pool, and over a new one
            with pytest.raises(OperationalError, match=r"no answer from the server within 1 s|timeout expired"):
                _execute(store, "SELECT 1")
    until("the store to work", lambda: _works(store))


def test_a_server_that_freezes_within_a_transaction_leaves_a_store_that_works(store: Store, postmaster: int) -> None:
    def run() -> None:
        with store.writing() as session:
            session.execute(text("SELECT 1"))
            with frozen(postmaster):
                session.execute(text("SELECT 1"))

    with pytest.raises(OperationalError, match="no answer from the server within 1 s"):
        run()
    until("the store to work", lambda: _works(store))


def test_a_statement_ends_with_its_time_out(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWER_LATE", timedelta(seconds=30))
    store = open_store(server, SHORT)
    with pytest.raises(OperationalError, match="statement timeout"):
        _execute(store, "SELECT pg_sleep(60)")
    store.close()


def test_a_migration_may_take_longer(server: str) -> None:
    migrating = open_store(server, statement_timeout=None)
    with migrating.writing() as session:
        assert session.execute(text("SHOW statement_timeout")).scalar_one() == "0"
        assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "0"
    migrating.close()


def test_a_lock_is_waited_for_until_its_time_out(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOCK_TIMEOUT", SHORT / 2)
    lock, store = "SELECT pg_advisory_xact_lock(1)", open_store(server)
    with store.writing() as holder:
        holder.execute(text(lock))
        with pytest.raises(OperationalError, match="lock timeout"):
            _execute(store, lock)
    _execute(store, lock)
    store.close()


def test_the_locks_of_a_process_that_froze_within_a_transaction_are_freed(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, others, store = "SELECT pg_advisory_xact_lock(2)", open_store(server), open_store(server)
    _execute(others, "SELECT 1")  # its connection may be idle for longer
    monkeypatch.setattr(limits, "IDLE_IN_TRANSACTION", SHORT)

    def hold() -> None:
        with store.writing() as holder:
            holder.execute(text(lock))
            _execute(others, lock)  # longer than the holder may be idle
            holder.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        hold()
    others.close()
    store.close()


def _execute(store: Store, statement: str) -> object:
    with store.writing() as session:
        return session.execute(text(statement)).scalar_one()


def test_a_connection_whose_limits_are_refused_is_closed(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(server)
    assert _execute(store, "SELECT 1") == 1
    errors = []
    with monkeypatch.context() as patch:
        patch.setattr(limits, "LOCK_TIMEOUT", timedelta(days=1000))
        for _ in range(3):
            with pytest.raises(DBAPIError, match="invalid value for parameter") as caught:
                _execute(open_store(server), "SELECT 1")
            errors.append(caught)  # with its frames, and so the connection
    ours = "SELECT pg_backend_pid()"
    others = f"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> ({ours})"
    until("the others to end", lambda: _execute(store, others) == 0)
    store.close()


def test_the_clock_advances_while_the_server_does_not_answer(server: str, store: Store, postmaster: int) -> None:
    elapsed_s, patient = [0.0], open_store(server)
    clock = StoreClock(patient, elapsed_s=lambda: elapsed_s[0])
    patient.close()
    clock._store = store  # its time-outs are short
    before = clock()
    with capture_logs() as logs, frozen(postmaster):
        elapsed_s[0] = MEASURE_EVERY.total_seconds()
        assert clock() - before == MEASURE_EVERY
        until("an error", lambda: logs)
        assert clock() - before == MEASURE_EVERY
    assert logs[0]["event"] == "database unavailable; its clock not measured"


def _works(store: Store) -> bool:
    """Whether a statement is executed; not yet, if it was late. Any other error is raised."""
    try:
        return _execute(store, "SELECT 1") == 1
    except OperationalError as error:
        if re.search(LATE, str(error)) is None:
            raise
        return False


def _postmaster(session: Session) -> int:
    backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
