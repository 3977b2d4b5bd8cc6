"""The text of messages."""

from datetime import timedelta

import pytest

from kubeprobe.jsonmodel import from_json, to_json
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import MAX_ERRORS, Message, MessageKind, message_kind, reported_errors
from kubeprobe.vocabulary import AlertKind, Verdict
from tests.unit.response.given import NOON, message, outcome


def test_a_failure_has_case_subject_reason_time_owner_and_command() -> None:
    sent = message()
    assert sent.title == "[critical] pod-lifecycle fails on prod-1"
    assert sent.text.splitlines() == [
        "ReportedFailure: the probe reported 1 error",
        "- the pod was not ready within 30 s",
        "Failing since 2026-11-23 12:00:00 UTC",
        "Owner: platform",
        "Runbook: https://runbooks.example/pods",
        "Details: kubeprobe show 01run",
    ]


def test_a_recovery_has_its_duration() -> None:
    sent = message(
        MessageKind.RECOVERED, reason="Passed", why="", errors=(), owner="", runbook="", until=NOON + timedelta(hours=2)
    )
    assert sent.title == "[recovered] pod-lifecycle passes again on prod-1"
    assert sent.text.splitlines() == [
        "Passed",
        "Failing from 2026-11-23 12:00:00 UTC until 2026-11-23 14:00:00 UTC (2h)",
        "Details: kubeprobe show 01run",
    ]


@pytest.mark.parametrize(
    ("alert", "event", "kind"),
    [
        (AlertKind.FAIL, AlertEvent.OPENED, MessageKind.FAILED),
        (AlertKind.FAIL, AlertEvent.CLOSED, MessageKind.RECOVERED),
        (AlertKind.UNKNOWN, AlertEvent.OPENED, MessageKind.UNKNOWN),
        (AlertKind.UNKNOWN, AlertEvent.CLOSED, MessageKind.RESTORED),
    ],
)
def test_each_event_has_its_own_kind_of_message(alert: AlertKind, event: AlertEvent, kind: MessageKind) -> None:
    assert message_kind(alert, event) is kind


def test_an_unknown_is_never_called_a_failure() -> None:
    sent = message(MessageKind.UNKNOWN, alert_kind=AlertKind.UNKNOWN, verdict="unknown", reason="Evicted", why="")
    assert "fail" not in (sent.title + sent.text).lower()


def test_a_restored_verdict_is_named() -> None:
    assert message(MessageKind.RESTORED, verdict="fail").title == "[verdict restored] pod-lifecycle on prod-1: fail"


@pytest.mark.parametrize("kind", list(MessageKind))
def test_a_message_is_read_back_from_json(kind: MessageKind) -> None:
    sent = message(kind, until=NOON + timedelta(minutes=3))
    assert from_json(Message, to_json(sent)) == sent


def test_many_and_long_errors_are_cut_visibly() -> None:
    report = {"errors": [f"{number} " + "x" * 1000 for number in range(MAX_ERRORS + 5)]}
    shown = reported_errors(outcome(Verdict.FAIL, report=report))
    assert len(shown) == MAX_ERRORS + 1
    assert shown[-1] == "and 5 more"
    assert all(len(error) <= 400 for error in shown)


@pytest.mark.parametrize("report", [None, {}, {"errors": None}, {"errors": "text"}, {"errors": 7}])
def test_a_report_without_errors_gives_none(report: dict[str, object] | None) -> None:
    assert reported_errors(outcome(Verdict.FAIL, report=report)) == ()


def test_the_errors_of_a_pass_are_not_shown() -> None:
    assert reported_errors(outcome(Verdict.PASS, report={"errors": ["odd"]})) == ()
