"""The judgement of a run's end, and the arithmetic of verdicts. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubeprobe.vocabulary import Reason, Verdict

RETRIED = frozenset({Reason.EVICTED, Reason.PREEMPTED, Reason.NODE_LOST})
"""The cluster removed the pod, not because of the probe; another node may run it: retried (failure mode 12)."""
UNCOUNTED = frozenset(
    {
        Reason.STILL_RUNNING,
        Reason.REPLACED,
        Reason.CORDONED,
        Reason.CASE_REMOVED,
        Reason.CLUSTER_REMOVED,
        Reason.NODE_GONE,
    }
)
"""Reasons of runs that by decision never took place, or whose node has left. They are not evidence about the case: they
stay in the history as unknown and change no standing or alert.
"""
_WORST_FIRST = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason, and what was observed: exit code, report, node and times, if known."""

    verdict: Verdict
    reason: Reason
    message: str = ""
    exit_code: int | None = None
    report: dict[str, Any] | None = None
    node: str | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def is_counted(reason: str) -> bool:
    """Whether an outcome with this reason changes a standing."""
    return reason not in UNCOUNTED


def worst(verdicts: Iterable[str | None]) -> Verdict | None:
    """Fail before unknown before pass. None if there are no verdicts, or if one is still missing (None)."""
    found = set(verdicts)
    return None if None in found else next((verdict for verdict in _WORST_FIRST if verdict in found), None)
