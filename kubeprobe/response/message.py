"""The text for people: one message when an alert opens, one when it closes. Next: `outbox` addresses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, computed_field, model_validator

from kubeprobe.catalog.model import format_duration
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.outcomes import ClaimedOutcome
from kubeprobe.response.shorten import shorten
from kubeprobe.vocabulary import AlertKind, Subject, Verdict

MAX_ERRORS = 10
MAX_ERROR_LENGTH = 400
"""Characters of one error of a probe that a message carries; the report in the store is complete."""

MAX_WHY_LENGTH = 2000
"""Characters of the outcome's message, likewise."""


class MessageKind(StrEnum):
    """What a message is about."""

    FAILED = "failed"
    RECOVERED = "recovered"
    UNKNOWN = "unknown"
    RESTORED = "verdict-restored"
    WITHDRAWN = "withdrawn"
    """The case, the cluster or the node was removed: no longer probed, which is not a recovery."""


_KINDS = {
    (AlertKind.FAIL, AlertEvent.OPENED): MessageKind.FAILED,
    (AlertKind.FAIL, AlertEvent.CLOSED): MessageKind.RECOVERED,
    (AlertKind.UNKNOWN, AlertEvent.OPENED): MessageKind.UNKNOWN,
    (AlertKind.UNKNOWN, AlertEvent.CLOSED): MessageKind.RESTORED,
}


def message_kind(alert: AlertKind, event: AlertEvent) -> MessageKind:
    """The kind of message for an alert's opening or closing."""
    return _KINDS[alert, event]


@dataclass(frozen=True)
class Message(JsonModel):
    """One message about one alert, the same for every target.

    `run` opened or closed the alert. The case has failed (or been unknown) from `since` until `until`. `why` is the
    outcome's message, `errors` are the probe's.
    """

    kind: MessageKind
    alert: str
    alert_kind: AlertKind
    run: str
    case: str
    subject: Annotated[Subject, Field(exclude=True)]
    """In JSON: `cluster` and `node`."""
    severity: str
    owner: str
    runbook: str
    verdict: str
    reason: str
    why: str
    errors: tuple[str, ...]
    since: datetime
    until: datetime | None = None
    version: int = 0
    """Grows with every message about the case on the subject: receivers drop what is older than what they have."""

    @model_validator(mode="before")
    @classmethod
    def _read_subject(cls, value: Any) -> Any:
        if isinstance(value, dict) and "cluster" in value:  # a message of before nodes were known has no node
            return {**value, "subject": Subject(value["cluster"], value.get("node", ""))}
        return value

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cluster(self) -> str:
        """Of the subject."""
        return self.subject.cluster

    @computed_field  # type: ignore[prop-decorator]
    @property
    def node(self) -> str:
        """Of the subject: a node's name, empty for the cluster, `*` for its nodes as a whole."""
        return self.subject.node_key

    @property
    def is_problem(self) -> bool:
        """Whether it reports a problem; otherwise the end of one."""
        return self.kind in {MessageKind.FAILED, MessageKind.UNKNOWN}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def title(self) -> str:
        """One line."""
        what = f"{self.case} on {self.subject}"
        match self.kind:
            case MessageKind.FAILED:
                return f"[{self.severity}] {self.case} fails on {self.subject}"
            case MessageKind.RECOVERED:
                return f"[recovered] {self.case} passes again on {self.subject}"
            case MessageKind.UNKNOWN:
                return f"[unknown] {what}: no verdict"
            case MessageKind.RESTORED:
                return f"[verdict restored] {what}: {self.verdict}"
            case MessageKind.WITHDRAWN:
                return f"[withdrawn] {what}: no longer probed"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """The message in plain lines."""
        lines = [f"{self.reason}: {self.why}" if self.why else self.reason]
        lines += [f"- {error}" for error in self.errors]
        lines.append(self._time())
        lines += [f"Owner: {self.owner}"] if self.owner else []
        lines += [f"Runbook: {self.runbook}"] if self.runbook else []
        lines.append(f"Details: kubeprobe show {self.run}")
        return "\n".join(lines)

    def _time(self) -> str:
        state = "Unknown" if self.alert_kind is AlertKind.UNKNOWN else "Failing"
        if self.until is None:
            return f"{state} since {_clock(self.since)}"
        lasted = format_duration(max(self.until - self.since, timedelta()))
        return f"{state} from {_clock(self.since)} until {_clock(self.until)} ({lasted})"


def explanation(outcome: ClaimedOutcome) -> str:
    """The outcome's message, cut to what a message can carry."""
    return shorten(outcome.message, MAX_WHY_LENGTH)


def reported_errors(outcome: ClaimedOutcome) -> tuple[str, ...]:
    """The errors that the probe reported, cut to what a message can carry."""
    errors = (outcome.report or {}).get("errors")
    if outcome.verdict == Verdict.PASS or not isinstance(errors, Sequence) or isinstance(errors, str):
        return ()
    shown = [_cut(str(error)) for error in errors[:MAX_ERRORS]]
    if len(errors) > MAX_ERRORS:
        shown.append(f"and {len(errors) - MAX_ERRORS} more")
    return tuple(shown)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ERROR_LENGTH else text[: MAX_ERROR_LENGTH - 1] + "…"


def _clock(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
