"""Connections to PostgreSQL, with a time-out for everything that they wait for."""

import math
import time
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

ANSWER_LATE = timedelta(seconds=5)
"""How long after its statement's time-out a server is waited for: one that is frozen does not end it."""
LOCK_TIMEOUT = timedelta(seconds=20)
IDLE_IN_TRANSACTION = timedelta(seconds=60)
"""After that the server ends a transaction whose process sends nothing, and so frees what it has locked."""
POOL_TIMEOUT_S = 10
CONNECTION_PARAMETERS = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms that sent data may remain unacknowledged
}
"""Of libpq; those in the URL take precedence. A host that is gone is noticed after 25 s."""


class PostgreSQLConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server answers too late: a frozen one enforces no time-out."""

    answer_timeout_s: float | None = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's, which waits forever for an answer."""
        return super().wait(self._within_limit(gen), *args, **kwargs)

    def _within_limit(self, gen: Any) -> Generator[Any, Any, Any]:
        """The steps of `gen`. Psycopg also resumes it every 0.1 s while nothing has arrived, with 0."""
        ends_at = time.monotonic() + self.answer_timeout_s if self.answer_timeout_s is not None else math.inf
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                if not ready and time.monotonic() > ends_at:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer from the server within {self.answer_timeout_s:g} s")
                awaited = gen.send(ready)
        except StopIteration as end:
            return end.value


def postgresql_engine(url: URL, statement_timeout: timedelta | None) -> Engine:
    """An engine whose connections have time-outs for everything that they wait for."""
    engine = create_engine(
        url, pool_size=10, max_overflow=30, pool_timeout=POOL_TIMEOUT_S, pool_pre_ping=True, hide_parameters=True
    )

    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> PostgreSQLConnection:
        connection = PostgreSQLConnection.connect(*arguments, **(CONNECTION_PARAMETERS | parameters))
        if statement_timeout is not None:
            connection.answer_timeout_s = (statement_timeout + ANSWER_LATE).total_seconds()
        limits = {
            "statement_timeout": statement_timeout or timedelta(0),
            "lock_timeout": LOCK_TIMEOUT,
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION if statement_timeout else timedelta(0),
        }
        try:
            connection.execute(
                "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS limits (name, value)",
                (list(limits), [f"{limit // timedelta(milliseconds=1)}ms" for limit in limits.values()]),
            )
            connection.commit()
        except BaseException:  # SQLAlchemy does not know the connection yet
            connection.close()
            raise
        return connection

    event.listen(engine, "do_connect", connect)
    return engine
