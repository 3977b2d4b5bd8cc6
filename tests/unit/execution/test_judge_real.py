"""Judgements of pods recorded from a real cluster."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubeprobe.execution.judge import Policy, deadline, judge
from kubeprobe.vocabulary import Reason, Verdict
from tests.unit.execution.given import real

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
PODS = {
    "passed": (PASS, Reason.PASSED),
    "failed": (FAIL, Reason.REPORTED_FAILURE),
    "gave-up": (UNKNOWN, Reason.PROBE_GAVE_UP),
    "no-report": (UNKNOWN, Reason.REPORT_MISSING),
    "report-too-long": (UNKNOWN, Reason.REPORT_TOO_LONG),
    "oom-killed": (UNKNOWN, Reason.OOM_KILLED),
    "oom-killed-child": (UNKNOWN, Reason.OOM_KILLED),
    "image-registry-unreachable": None,
    "image-never-pull": (UNKNOWN, Reason.IMAGE_NOT_PULLED),
    "image-name-invalid": (UNKNOWN, Reason.IMAGE_NOT_PULLED),
    "config-error": (UNKNOWN, Reason.CONFIG_INVALID),
    "init-failed": (UNKNOWN, Reason.INIT_FAILED),
    "deadline-exceeded": (UNKNOWN, Reason.RUN_DEADLINE),
    "deadline-exceeded-in-init": (UNKNOWN, Reason.RUN_DEADLINE),
    "command-missing": (UNKNOWN, Reason.CONTAINER_NOT_STARTED),
    "sidecar-running": (PASS, Reason.PASSED),
    "sidecar-crashed": (PASS, Reason.PASSED),
    "running": None,
    "unschedulable": None,
    "secret-missing": None,
    "deleted-while-running": (UNKNOWN, Reason.POD_DELETED),
    "deleted-after-failing": (FAIL, Reason.REPORTED_FAILURE),
    "evicted-by-api": (UNKNOWN, Reason.EVICTED),
    "evicted-by-kubelet": (UNKNOWN, Reason.EVICTED),
    "preempted": (UNKNOWN, Reason.PREEMPTED),
    "tainted-while-running": (UNKNOWN, Reason.NODE_LOST),
    "tainted-before-start": (UNKNOWN, Reason.NODE_LOST),
    "tainted-after-failing": (FAIL, Reason.REPORTED_FAILURE),
    "force-deleted": None,
}
"""The expected judgement of each recorded pod; None: not yet."""


@pytest.mark.parametrize(("name", "expected"), PODS.items())
def test_pods_of_a_real_cluster_are_judged(name: str, expected: tuple[Verdict, Reason] | None) -> None:
    pod = real(name)
    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    found = judge(pod, Policy(), created)
    assert (found and (found.verdict, found.reason)) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image-registry-unreachable", Reason.IMAGE_NOT_PULLED),
        ("unschedulable", Reason.UNSCHEDULABLE),
        ("secret-missing", Reason.START_DEADLINE),
        ("running", Reason.RUN_DEADLINE),
        ("force-deleted", Reason.POD_DELETED),
    ],
)
def test_a_real_pod_that_goes_on_is_unknown_at_its_deadline(name: str, reason: Reason) -> None:
    pod, policy = real(name), Policy()
    until = deadline(pod, policy)
    assert judge(pod, policy, until - timedelta(microseconds=1)) is None
    found = judge(pod, policy, until)
    assert found is not None
    assert (found.verdict, found.reason) == (UNKNOWN, reason)


def test_a_pod_that_was_force_deleted_is_unknown() -> None:
    found = judge(real("force-deleted"), Policy(), datetime(2026, 11, 23, 15, 2, 37, tzinfo=UTC), deleted=True)
    assert found is not None
    assert found.reason is Reason.POD_DELETED


def test_times_and_node_are_those_of_the_pod() -> None:
    found = judge(real("passed"), Policy(), datetime(2026, 11, 23, 15, 3, tzinfo=UTC))
    assert found is not None
    assert found.node == "node"
    assert found.scheduled_at is not None and found.started_at is not None
    assert found.started_at == found.finished_at == datetime(2026, 11, 23, 15, 2, 20, tzinfo=UTC)
    assert found.scheduled_at <= found.started_at


def test_a_container_that_never_started_has_no_start_in_1970() -> None:
    found = judge(real("command-missing"), Policy(), datetime(2026, 11, 23, 15, 3, tzinfo=UTC))
    assert found is not None
    assert found.started_at is None
    assert 'exec: "/nope": stat /nope: no such file or directory' in found.message


def test_every_pod_in_the_folder_is_judged_here() -> None:
    assert {path.stem for path in (Path(__file__).parent / "pods").glob("*.json")} == set(PODS)
