"""The database is unavailable while pods end: no outcome is lost, and no pod is deleted meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from kubeprobe.store import Store
from kubeprobe.vocabulary import Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import FAIL, PASS, LocalThread


def test_pods_that_end_while_the_database_is_unavailable_get_their_outcomes_later(
    store: Store, database_url: str, local: LocalThread, make_environment: MakeEnvironment
) -> None:
    env = make_environment(store, local)
    env.collect()
    runs = [env.start(env.at_the_gate + script) for script in (PASS, FAIL, PASS)]
    known = {pod["metadata"]["uid"] for pod in env.pods()}
    with away(database_url):
        env.open_the_gate()
        env.wait_until_ended(*runs)
        assert {pod["metadata"]["uid"] for pod in env.pods()} == known
    assert [env.outcome(run_id).verdict for run_id in runs] == [Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    env.wait_until_no_pod_is_left()


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """All statements fail: SQLite is locked, PostgreSQL accepts no connections."""
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
        try:
            until("all connections to be closed", lambda: not connection.execute(others, {"name": url.database}).all())
            yield
        finally:
            connection.execute(text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true"))
    engine.dispose()
