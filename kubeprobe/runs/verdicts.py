"""What an observation of a run's end says, and the arithmetic of verdicts. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubeprobe.vocabulary import Reason, Verdict

RETRIED = frozenset({Reason.EVICTED, Reason.PREEMPTED, Reason.NODE_LOST})
"""The cluster took the pod, the probe is not to blame, and another node may do: tried again (failure mode 12)."""
NO_ANSWER = frozenset(
    {
        Reason.STILL_RUNNING,
        Reason.REPLACED,
        Reason.CORDONED,
        Reason.CASE_REMOVED,
        Reason.CLUSTER_REMOVED,
        Reason.NODE_GONE,
    }
)
"""Reasons of runs that by decision never took place, or whose node has left. They say nothing about how the case
stands; the run before or after them does. They stay in the history as unknown and change no standing or alert.
"""
_WORST_FIRST = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason, and what was observed: exit code, report, node and times, as far as they are known."""

    verdict: Verdict
    reason: Reason
    message: str = ""
    exit_code: int | None = None
    report: dict[str, Any] | None = None
    node: str | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def is_answer(reason: str) -> bool:
    """Whether an outcome with this reason says anything about how the case stands."""
    return reason not in NO_ANSWER


def worst(verdicts: Iterable[str | None]) -> Verdict | None:
    """Fail before unknown before pass. None if there are no verdicts, or if one is still missing (None)."""
    found = set(verdicts)
    return None if None in found else next((verdict for verdict in _WORST_FIRST if verdict in found), None)
