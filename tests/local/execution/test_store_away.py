"""A store that goes away while pods end: nothing is forgotten, and no pod is deleted meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from kubeprobe.store import Store
from kubeprobe.vocabulary import Verdict
from tests.local.execution.conftest import MakeRooms
from tests.local.execution.rooms import FAIL, PASS, LocalThread


def test_pods_that_end_while_the_store_is_away_get_their_outcomes_when_it_is_back(
    store: Store, database_url: str, local: LocalThread, make_rooms: MakeRooms
) -> None:
    rooms = make_rooms(store, local)
    rooms.collect()
    runs = [rooms.start(rooms.at_the_gate + script) for script in (PASS, FAIL, PASS)]
    known = {pod["metadata"]["uid"] for pod in rooms.pods()}
    with away(database_url):
        rooms.open_the_gate()
        rooms.wait_until_ended(*runs)
        assert {pod["metadata"]["uid"] for pod in rooms.pods()} == known
    assert [rooms.outcome(run_id).verdict for run_id in runs] == [Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    rooms.wait_until_no_pod_is_left()


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """No statement gets through: SQLite is locked by somebody, PostgreSQL lets nobody in."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, isolation_level=None)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                connection.exec_driver_sql("ROLLBACK")
        engine.dispose()
        return
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false"))
        others = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        connection.execute(others, {"name": url.database})
        try:
            yield
        finally:
            connection.execute(text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true"))
    engine.dispose()
