"""Outcomes that cannot be processed are set aside: `kubeprobe doctor` and a metric report them, the others go on."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from kubeprobe.response.outcomes import ClaimedOutcome, StandingKey
from kubeprobe.store import ResponseError

MAX_ERROR_LENGTH = 500


def set_aside(
    session: Session, key: StandingKey, outcomes: Sequence[ClaimedOutcome], error: Exception, now: datetime
) -> None:
    """Record the error; the outcomes stay marked as processed. One row for each case on a subject."""
    found = session.get(ResponseError, (key.subject.cluster, key.case, key.subject.node_key))
    if found is None:
        found = ResponseError(
            cluster=key.subject.cluster,
            case=key.case,
            node=key.subject.node_key,
            run_id="",
            error="",
            outcomes=0,
            since=now,
            last_at=now,
        )
    found.run_id = outcomes[-1].run_id
    found.error = _describe(error)
    found.outcomes += len(outcomes)
    found.last_at = now
    session.add(found)
    session.flush()


def _describe(error: Exception) -> str:
    """One line. Values that the database cannot store are not repeated: they could not be stored here either."""
    text = " ".join(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}".split())
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")[:MAX_ERROR_LENGTH]
