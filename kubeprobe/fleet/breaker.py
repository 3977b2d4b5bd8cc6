"""The circuit breaker: no worker sends requests to an unreachable cluster until the breaker's time is over (promise 5).

It is stored in the cluster's row, so all workers see the same. It opens for 5 s, then twice as long after each
further failure, up to 5 min. When its time is over, one launcher tries, and the others wait for its result. Only the
result of a request moves it: a success closes it, a failure opens it. It is about the present connection: results of
requests that were sent by an earlier one change nothing.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select, update

from kubeprobe.backoff import Backoff
from kubeprobe.store import Cluster

BACKOFF = Backoff(first=timedelta(seconds=5), longest=timedelta(minutes=5))
"""How long the breaker stays open after so many failures in a row."""


def retry_at(cluster: Cluster, now: datetime) -> datetime | None:
    """The time before which no requests may be sent to the cluster; None if they may be sent now."""
    waits = [until for until in (cluster.open_until, cluster.trial_until) if until is not None and until > now]
    return max(waits, default=None)


def start_trial(session: Session, cluster: Cluster, until: datetime) -> None:
    """Let the others wait for the result of a request that is about to be sent, at most until `until`.

    The row is locked by this transaction, and the breaker's time is over. `trip`, `reset` or `end_trial` follows.
    """
    cluster.trial_until = until
    session.add(cluster)
    session.flush()


def end_trial(session: Session, cluster: Cluster, until: datetime) -> None:
    """No request was sent, so the next launcher may try. `until` names the trial: a later one is not ended."""
    session.exec(
        update(Cluster).where(*_of_connection(cluster), col(Cluster.trial_until) == until).values(trial_until=None)
    )


def trip(session: Session, cluster: Cluster, now: datetime) -> datetime | None:
    """Open the breaker after a failed request; the time until which it is open.

    `cluster`: its row as the request was sent. None: it was removed, or its connection replaced. Concurrent failures
    count once: the second finds it open already.
    """
    known = select(Cluster.failures, Cluster.open_until).where(*_of_connection(cluster))
    row = session.exec(known).one_or_none()
    if row is None:
        return None
    failures, open_until = row
    if open_until is not None and open_until > now:
        return open_until
    until = now + BACKOFF.pause(failures + 1)
    won = session.exec(
        update(Cluster)
        .where(
            *_of_connection(cluster),
            col(Cluster.failures) == failures,
            or_(col(Cluster.open_until).is_(None), col(Cluster.open_until) <= now),
        )
        .values(failures=failures + 1, open_until=until, trial_until=None)
    ).rowcount
    if won:
        return until
    # Another worker tripped it between the two statements.
    return session.exec(select(Cluster.open_until).where(*_of_connection(cluster))).one_or_none()


def reset(session: Session, cluster: Cluster) -> bool:
    """Close the breaker after a success; whether it was open or had failures. Idempotent.

    `cluster`: its row as the request was sent.
    """
    changed = session.exec(
        update(Cluster)
        .where(*_of_connection(cluster), col(Cluster.failures) > 0)
        .values(failures=0, open_until=None, trial_until=None)
    ).rowcount
    return changed > 0


def _of_connection(cluster: Cluster) -> tuple[ColumnElement[bool], ...]:
    """Conditions of a cluster's row while it has the connection that it was read with."""
    return (
        col(Cluster.name) == cluster.name,
        col(Cluster.created_at) == cluster.created_at,
        col(Cluster.connection_version) == cluster.connection_version,
    )
