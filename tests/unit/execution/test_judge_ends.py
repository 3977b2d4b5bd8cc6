"""Judgements of pods whose probe container has ended."""

from typing import Any

import pytest

from kubeprobe.execution.exit_codes import explain_exit_code
from kubeprobe.execution.judge import Policy, judge
from kubeprobe.vocabulary import Reason, Verdict
from tests.unit.execution.given import (
    CREATED,
    GAVE_UP,
    NOT_OK,
    OK,
    POLICY,
    Pod,
    container,
    disrupted,
    ended,
    pod,
    running,
)

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
TOO_LONG = '{"ok": false, "errors": ["' + "x" * 5000
GARBLED = '{"ok": tr'
BY_EXIT_CODE = Policy(verdict_from="exitCode")


@pytest.mark.parametrize(
    ("code", "message", "verdict", "reason"),
    [
        (0, OK, PASS, Reason.PASSED),
        (0, NOT_OK, UNKNOWN, Reason.REPORT_DISAGREES),
        (0, GAVE_UP, UNKNOWN, Reason.REPORT_DISAGREES),
        (0, None, UNKNOWN, Reason.REPORT_MISSING),
        (0, " \n", UNKNOWN, Reason.REPORT_MISSING),
        (0, GARBLED, UNKNOWN, Reason.REPORT_GARBLED),
        (0, TOO_LONG[:4096], UNKNOWN, Reason.REPORT_TOO_LONG),
        (1, OK, UNKNOWN, Reason.REPORT_DISAGREES),
        (1, NOT_OK, FAIL, Reason.REPORTED_FAILURE),
        (1, GAVE_UP, UNKNOWN, Reason.PROBE_GAVE_UP),
        (1, None, UNKNOWN, Reason.REPORT_MISSING),
        (1, GARBLED, UNKNOWN, Reason.REPORT_GARBLED),
        (1, TOO_LONG[:4096], UNKNOWN, Reason.REPORT_TOO_LONG),
        (2, OK, UNKNOWN, Reason.REPORT_DISAGREES),
        (2, NOT_OK, UNKNOWN, Reason.REPORT_DISAGREES),
        (2, GAVE_UP, UNKNOWN, Reason.PROBE_GAVE_UP),
        (2, None, UNKNOWN, Reason.REPORT_MISSING),
        (2, GARBLED, UNKNOWN, Reason.REPORT_GARBLED),
        (137, OK, UNKNOWN, Reason.REPORT_DISAGREES),
        (143, None, UNKNOWN, Reason.REPORT_MISSING),
    ],
)
def test_exit_code_and_report_must_agree(code: int, message: str | None, verdict: Verdict, reason: Reason) -> None:
    found = judge(pod(ended(code, message)), POLICY, CREATED)
    assert found is not None
    assert (found.verdict, found.reason, found.exit_code) == (verdict, reason, code)


@pytest.mark.parametrize(
    ("code", "message", "verdict", "reason"),
    [
        (0, None, PASS, Reason.PASSED),
        (0, NOT_OK, PASS, Reason.PASSED),
        (0, GARBLED, PASS, Reason.PASSED),
        (1, None, FAIL, Reason.EXITED_NONZERO),
        (1, OK, FAIL, Reason.EXITED_NONZERO),
        (2, None, FAIL, Reason.EXITED_NONZERO),
        (127, None, FAIL, Reason.EXITED_NONZERO),
        (128, None, FAIL, Reason.EXITED_NONZERO),
        (255, None, FAIL, Reason.EXITED_NONZERO),
        (193, None, FAIL, Reason.EXITED_NONZERO),
        (-1073741819, None, UNKNOWN, Reason.REPORT_MISSING),
        (3221225786, None, UNKNOWN, Reason.REPORT_MISSING),
        (137, None, UNKNOWN, Reason.REPORT_MISSING),
        (143, None, UNKNOWN, Reason.REPORT_MISSING),
    ],
)
def test_with_verdict_from_exit_code_the_exit_code_alone_decides(
    code: int, message: str | None, verdict: Verdict, reason: Reason
) -> None:
    found = judge(pod(ended(code, message)), BY_EXIT_CODE, CREATED)
    assert found is not None
    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize("policy", [POLICY, BY_EXIT_CODE], ids=["report", "exitCode"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (ended(137, reason="OOMKilled"), Reason.OOM_KILLED),
        (ended(1, reason="OOMKilled"), Reason.OOM_KILLED),
        (ended(128, "exec: no such file", reason="StartError"), Reason.CONTAINER_NOT_STARTED),
        (ended(127, "exec: no such file", reason="ContainerCannotRun"), Reason.CONTAINER_NOT_STARTED),
        (ended(137, "could not be located", reason="ContainerStatusUnknown"), Reason.NODE_LOST),
        (ended(255, reason="Unknown"), Reason.NODE_LOST),
        (ended(137) | {"reason": "DeadlineExceeded"}, Reason.RUN_DEADLINE),
        (ended(137) | {"reason": "Evicted"}, Reason.EVICTED),
        (ended(137) | {"reason": "Preempting"}, Reason.PREEMPTED),
        (ended(137) | {"reason": "NodeShutdown"}, Reason.NODE_LOST),
        (ended(137) | {"reason": "Terminated"}, Reason.NODE_LOST),
        (ended(137, **disrupted("PreemptionByScheduler", 9)), Reason.PREEMPTED),
        (ended(137, **disrupted("DeletionByTaintManager", 9)), Reason.NODE_LOST),
        (ended(137, **disrupted("DeletionByPodGC", 9)), Reason.NODE_LOST),
        (ended(143, **disrupted("EvictionByEvictionAPI", 9)), Reason.EVICTED),
        (ended(143, **disrupted("TerminationByKubelet")), Reason.EVICTED),
        (ended(143, **disrupted("SomethingNew", 9)), Reason.EVICTED),
    ],
)
def test_a_probe_that_was_killed_is_unknown_with_the_reason(status: Pod, reason: Reason, policy: Policy) -> None:
    found = judge(pod(status), policy, CREATED)
    assert found is not None
    assert (found.verdict, found.reason) == (UNKNOWN, reason)
    assert found.message


@pytest.mark.parametrize("taken_away", [{"reason": "Evicted"}, disrupted("PreemptionByScheduler", 8)])
def test_a_failure_reported_during_a_disruption_is_unknown(taken_away: Pod) -> None:
    found = judge(pod(ended(1, NOT_OK) | taken_away), POLICY, CREATED)
    assert found is not None
    assert (found.verdict, found.reason in {Reason.EVICTED, Reason.PREEMPTED}) == (UNKNOWN, True)


def test_a_pass_stays_a_pass_whatever_happens_to_the_pod_later() -> None:
    status = ended(0, OK, **disrupted("EvictionByEvictionAPI", 8)) | {"reason": "Evicted", "phase": "Failed"}
    found = judge(pod(status, deleted_at=7), POLICY, CREATED, deleted=True)
    assert found is not None
    assert found.verdict is PASS


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (ended(1, NOT_OK), FAIL, Reason.REPORTED_FAILURE),
        (ended(2, GAVE_UP), UNKNOWN, Reason.PROBE_GAVE_UP),
        (ended(137, reason="OOMKilled"), UNKNOWN, Reason.OOM_KILLED),
        (ended(1, NOT_OK, **disrupted("DeletionByTaintManager", 60)), FAIL, Reason.REPORTED_FAILURE),
    ],
)
def test_a_report_before_the_deletion_of_the_pod_is_valid(status: Pod, verdict: Verdict, reason: Reason) -> None:
    for gone in (False, True):
        found = judge(pod(status, deleted_at=60, grace=0), POLICY, CREATED, deleted=gone)
        assert found is not None
        assert (found.verdict, found.reason) == (verdict, reason)


def test_an_ended_pod_that_is_deleted_without_a_grace_period_keeps_its_verdict() -> None:
    found = judge(pod(ended(1, NOT_OK)), POLICY, CREATED, deleted=True)
    assert found is not None
    assert found.verdict is FAIL


@pytest.mark.parametrize("status", [ended(1, NOT_OK), ended(143), ended(137, reason="Error"), ended(1, GARBLED)])
@pytest.mark.parametrize("grace", [0, 3, 30], ids="grace {}".format)
def test_a_probe_that_ended_while_its_pod_was_deleted_is_unknown(status: Pod, grace: int) -> None:
    """The kubelet sets the grace period to 0 in the end, so the template's own is used."""
    found = judge(pod(status, deleted_at=9, grace=grace), POLICY, CREATED)
    assert found is not None
    assert (found.verdict, found.reason) == (UNKNOWN, Reason.POD_DELETED)


def test_a_pod_deleted_after_the_kubelet_lost_its_container_is_unknown() -> None:
    end = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
    status = {"phase": "Failed", "containerStatuses": [container(terminated=end)]}
    for seen in (pod(status, deleted_at=9), pod(status)):
        found = judge(seen, POLICY, CREATED, deleted=True)
        assert found is not None
        assert (found.verdict, found.reason) == (UNKNOWN, Reason.POD_DELETED)


@pytest.mark.parametrize(
    "sidecar",
    [
        {"running": {"startedAt": "2026-11-23T12:00:01Z"}},
        {"terminated": {"exitCode": 3, "reason": "Error", "message": '{"ok": false}'}},
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
    ],
    ids=["runs on", "crashed", "crashes again and again", "has no image"],
)
def test_sidecars_are_ignored(sidecar: dict[str, Any]) -> None:
    other = container("sidecar", **sidecar)
    assert judge(pod(running(5, other)), POLICY, CREATED) is None
    for code, message, verdict in ((0, OK, PASS), (1, NOT_OK, FAIL)):
        found = judge(pod(ended(code, message, other)), POLICY, CREATED)
        assert found is not None
        assert found.verdict is verdict


def test_all_errors_and_the_whole_report_are_kept() -> None:
    found = judge(pod(ended(1, NOT_OK)), POLICY, CREATED)
    assert found is not None
    assert found.message == "create: forbidden; no pod"
    assert found.report == {"ok": False, "errors": ["create: forbidden", "no pod"], "steps": [], "metrics": {}}


def test_messages_contain_no_nul() -> None:
    found = judge(pod(ended(1, '{"ok": false, "errors": ["read \\u0000\\u0001"]}')), POLICY, CREATED)
    assert found is not None
    assert (found.verdict, found.message) == (FAIL, "read \N{REPLACEMENT CHARACTER}\x01")
    assert found.report == {"ok": False, "errors": ["read \N{REPLACEMENT CHARACTER}\x01"]}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "code 1."),
        (126, "could not be run"),
        (127, "was not found"),
        (128, "code 128."),
        (139, "killed by SIGSEGV (signal 11)"),
        (137, "killed by SIGKILL (signal 9)"),
        (143, "killed by SIGTERM (signal 15)"),
        (161, "killed by signal 33"),
        (192, "signal 64"),
        (193, "code 193."),
        (255, "code 255."),
        (256, "code 256."),
        (-1, "code -1."),
        (-1073741819, "status 0xC0000005, access violation"),
        (3221225786, "terminated by Ctrl+C"),
        (0xC0000999, "status 0xC0000999, error"),
    ],
)
def test_an_exit_code_is_explained_as_shells_kernels_and_runtimes_mean_it(code: int, said: str) -> None:
    found = judge(pod(ended(code)), BY_EXIT_CODE, CREATED)
    assert found is not None
    assert said in found.message


def test_an_unsigned_or_negative_windows_status_is_the_same() -> None:
    assert explain_exit_code(-1073741819) == explain_exit_code(0xC0000005)


@pytest.mark.parametrize("code", [137, 143, 255])
def test_a_sidecar_that_was_ended_with_its_pod_is_not_what_failed(code: int) -> None:
    sidecar = container("mesh", terminated={"exitCode": code, "reason": "Error"})
    failed = pod({"phase": "Failed", "initContainerStatuses": [sidecar], "message": "Pod was rejected"})
    failed["spec"]["initContainers"] = [{"name": "mesh", "restartPolicy": "Always"}]
    found = judge(failed, POLICY, CREATED)
    assert found is not None
    assert found.reason is Reason.CONTAINER_NOT_STARTED
