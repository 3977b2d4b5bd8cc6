"""Outcomes and messages for these tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.outcomes import ClaimedOutcome, StandingKey
from kubeprobe.vocabulary import AlertKind, Reason, Subject, Verdict

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

_REASONS = {
    Verdict.PASS: Reason.PASSED,
    Verdict.FAIL: Reason.REPORTED_FAILURE,
    Verdict.UNKNOWN: Reason.EVICTED,
}


def outcome(verdict: Verdict, minute: int = 0, run: str | None = None, **other: Any) -> ClaimedOutcome:
    """An outcome due this many minutes after noon; by default its run is named after the minute."""
    fields = {
        "run_id": run or f"run-{minute}",
        "key": StandingKey("pod-lifecycle", Subject("prod-1")),
        "trigger": "periodic",
        "verdict": verdict,
        "reason": _REASONS[verdict],
        "message": "",
        "report": None,
        "due_at": NOON + timedelta(minutes=minute),
        "stored_at": NOON + timedelta(minutes=minute, seconds=5),
    }
    return ClaimedOutcome(**{**fields, **other})


def message(kind: MessageKind = MessageKind.FAILED, **other: Any) -> Message:
    """A message about a failing pod-lifecycle."""
    fields: dict[str, Any] = {
        "kind": kind,
        "alert": "01alert",
        "alert_kind": AlertKind.FAIL,
        "run": "01run",
        "case": "pod-lifecycle",
        "subject": Subject("prod-1"),
        "severity": "critical",
        "owner": "platform",
        "runbook": "https://runbooks.example/pods",
        "verdict": "fail",
        "reason": "ReportedFailure",
        "why": "the probe reported 1 error",
        "errors": ("the pod was not ready within 30 s",),
        "since": NOON,
    }
    return Message(**{**fields, **other})
