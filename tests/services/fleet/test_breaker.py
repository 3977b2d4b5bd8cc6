"""The breaker in the store: one trip for concurrent failures, growing pauses, the same state for all workers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from kubeprobe.fleet import breaker
from kubeprobe.store import Cluster, Store

SECOND = timedelta(seconds=1)


@pytest.fixture
def cluster(store: Store, now: datetime) -> str:
    with store.writing() as session:
        session.add(Cluster(name="c", connection_kind="local", connection=b"", created_at=now))
    return "c"


def read(store: Store) -> Cluster:
    with store.reading() as session:
        found = session.get(Cluster, "c")
    assert found is not None
    return found


def trip(store: Store, at: datetime) -> datetime | None:
    with store.writing() as session:
        return breaker.trip(session, session.get_one(Cluster, "c"), at)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (8, 300), (10_000, 300)]
)
def test_the_back_off_doubles_from_5_seconds_to_5_minutes(failures: int, seconds: int) -> None:
    assert breaker.BACKOFF.pause(failures) == seconds * SECOND


def test_each_failure_after_the_back_off_opens_it_for_longer(store: Store, cluster: str, now: datetime) -> None:
    at = now
    for seconds in (5, 10, 20, 40, 80, 160, 300, 300):
        until = trip(store, at)
        assert until == at + seconds * SECOND
        at = until
    assert read(store).failures == 8


def test_failures_while_it_is_open_are_not_counted(store: Store, cluster: str, now: datetime) -> None:
    until = trip(store, now)
    assert trip(store, now + 4 * SECOND) == until
    assert read(store).failures == 1
    assert breaker.retry_at(read(store), now + 4 * SECOND) == until
    assert breaker.retry_at(read(store), now + 5 * SECOND) is None


def test_workers_that_fail_concurrently_trip_it_once(store: Store, cluster: str, now: datetime) -> None:
    with ThreadPoolExecutor(10) as workers:
        found = set(workers.map(lambda _: trip(store, now), range(30)))
    assert found == {now + 5 * SECOND}
    assert read(store).failures == 1


def test_a_success_closes_it_and_resets_the_back_off(store: Store, cluster: str, now: datetime) -> None:
    trip(store, now)
    trip(store, now + 5 * SECOND)
    found = read(store)
    with store.writing() as session:
        assert breaker.reset(session, found)
        assert not breaker.reset(session, found), "nothing to change the second time"
    assert (read(store).failures, read(store).open_until) == (0, None)
    assert trip(store, now + 6 * SECOND) == now + 11 * SECOND


def test_a_cluster_that_was_removed_has_no_breaker(store: Store, now: datetime) -> None:
    gone = Cluster(name="gone", connection_kind="local", connection=b"", created_at=now)
    assert both(store, gone, now) == (None, False)


@pytest.mark.parametrize("change", [{"connection_version": 2}, {"created_at": datetime(2026, 11, 24, tzinfo=UTC)}])
@pytest.mark.parametrize("failures", [0, 3])
def test_results_of_requests_by_an_earlier_connection_change_nothing(
    store: Store, cluster: str, now: datetime, change: dict[str, Any], failures: int
) -> None:
    """The connection was replaced, or the cluster removed and added again, while they were under way."""
    before = read(store)
    until = now + SECOND if failures else None
    with store.writing() as session:
        session.execute(update(Cluster).values(failures=failures, open_until=until, trial_until=until, **change))
    assert both(store, before, now) == (None, False)
    with store.writing() as session:
        breaker.end_trial(session, before, now + SECOND)
    found = read(store)
    assert (found.failures, found.open_until, found.trial_until) == (failures, until, until)


def both(store: Store, cluster: Cluster, now: datetime) -> tuple[datetime | None, bool]:
    with store.writing() as session:
        return breaker.trip(session, cluster, now), breaker.reset(session, cluster)
