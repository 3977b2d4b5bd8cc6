"""The judgement: the verdict of a run from its pod's state. Pure functions; next stage: `runs.close`.

`judge` is called at every watch event and when `deadline` has passed; it returns None while the run has not ended.
Two rules (promise 6): pass and fail need a probe container whose exit code and report agree, and everything else is
`unknown`, with the reason. Other containers (sidecars) are ignored.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kubeprobe.execution.exit_codes import explain_exit_code
from kubeprobe.execution.pod_problems import (
    explain_wait,
    find_disruption,
    find_end_problem,
    find_sidecars,
    find_start_problem,
)
from kubeprobe.execution.report import InvalidReport, Report, read_report, without_nul
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.runs.verdicts import Judgement
from kubeprobe.vocabulary import PROBE_CONTAINER, Reason, Verdict

Pod = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """How to judge a run's pod; stored in the pod (annotation `kubeprobe.io/policy`)."""

    verdict_from: str = "report"
    start: timedelta = timedelta(seconds=60)
    """From the pod's creation to the start of the probe container."""
    run: timedelta = timedelta(seconds=90)
    """From the start of the probe container to its end."""
    retries: int = 1


def judge(
    pod: Pod, policy: Policy, now: datetime, *, deleted: bool = False, running_since: datetime | None = None
) -> Judgement | None:
    """The judgement of a pod; None while its probe may still end by itself.

    `now` is by the cluster's clock. `deleted`: the pod is deleted and `pod` is its last observed state.
    `running_since`: when its probe was first observed as running, by the cluster's clock.
    """
    found = _judge(pod, policy, now, running_since, deleted=deleted)
    return found and _with_times(found, pod)


def judge_refusal(error: ClusterError) -> Judgement:
    """The judgement of a run whose pod the cluster rejected."""
    return Judgement(Verdict.UNKNOWN, REFUSALS[error.cause], without_nul(error.message))


def deadline(pod: Pod, policy: Policy, running_since: datetime | None = None) -> datetime:
    """When to judge the pod again even without an event, by the cluster's clock.

    The API server's clock sets creationTimestamp, and the node's sets startedAt: a node's clock that is behind or ahead
    neither shortens nor extends the time that a probe has.
    """
    created, started = _time(pod["metadata"]["creationTimestamp"]), _probe_time(pod, "startedAt")
    if started is None:
        return created + policy.start
    return max(created, min(started, running_since or started)) + policy.run


def has_started(pod: Pod) -> bool:
    """Whether the probe's container runs, or has run."""
    return _probe_time(pod, "startedAt") is not None


def _judge(
    pod: Pod, policy: Policy, now: datetime, running_since: datetime | None, *, deleted: bool
) -> Judgement | None:
    if end := _probe_state(pod).get("terminated"):
        return _judge_end(pod, end, policy, deleted=deleted)
    if problem := find_disruption(pod):
        return _unknown(*problem)
    if deleted:
        return _unknown(Reason.POD_DELETED, "The pod was deleted before its probe ended, not by KubeProbe.")
    status = pod.get("status") or {}
    if status.get("phase") in {"Failed", "Succeeded"}:
        return _judge_failed_pod(status, find_sidecars(pod))
    return _judge_pending(pod, policy, now, running_since)


def _judge_end(pod: Pod, end: dict[str, Any], policy: Policy, *, deleted: bool) -> Judgement:
    """The probe container has ended: compare its exit code with its report, and find what ended it."""
    code = int(end["exitCode"])
    report = read_report(end.get("message"))
    found = _judge_exit_code(code, report) if policy.verdict_from == "exitCode" else _judge_report(code, report)
    if found.verdict is Verdict.PASS:
        return found
    problem = _find_removal(pod, deleted=deleted)
    if problem is None and found.reason is not Reason.REPORTED_FAILURE:
        problem = find_end_problem(pod, end)
    if problem is None:
        return found
    return replace(found, verdict=Verdict.UNKNOWN, reason=problem[0], message=problem[1])


def _find_removal(pod: Pod, *, deleted: bool) -> tuple[Reason, str] | None:
    """An eviction or deletion that may have ended the probe; an earlier report stays valid (failure mode 6)."""
    finished = _probe_time(pod, "finishedAt")
    if problem := find_disruption(pod, finished):
        return problem
    metadata = pod["metadata"]
    if (deletion := metadata.get("deletionTimestamp")) is None:
        return None if finished or not deleted else (Reason.POD_DELETED, "The pod was deleted, not by KubeProbe.")
    # deletionTimestamp is the end of the grace period, and the kubelet sets that period to 0 in the end.
    spec = pod.get("spec") or {}
    grace = max(metadata.get("deletionGracePeriodSeconds") or 0, spec.get("terminationGracePeriodSeconds") or 0)
    if finished is not None and finished < _time(deletion) - timedelta(seconds=grace):
        return None
    return Reason.POD_DELETED, "The pod was deleted while its probe ran, not by KubeProbe."


def _judge_report(code: int, report: Report | InvalidReport | None) -> Judgement:
    """`verdictFrom: report`: report and exit code must agree."""
    match report:
        case None:
            return _unknown(
                Reason.REPORT_MISSING, f"The probe exited with {_describe(code)} and wrote no report.", code
            )
        case InvalidReport():
            return _judge_invalid_report(code, report)
        case Report(unknown=str(why), body=body) if code != 0:
            return _unknown(Reason.PROBE_GAVE_UP, why, code, body)
        case Report(ok=True, body=body) if code == 0:
            return Judgement(Verdict.PASS, Reason.PASSED, "", code, body)
        case Report(ok=False, unknown=None, errors=errors, body=body) if code == 1:
            return Judgement(Verdict.FAIL, Reason.REPORTED_FAILURE, "; ".join(errors), code, body)
        case Report(ok=ok, body=body):
            message = f"The report says ok: {str(ok).lower()}, but the exit code is {code}."
            return _unknown(Reason.REPORT_DISAGREES, message, code, body)


def _judge_invalid_report(code: int, report: InvalidReport) -> Judgement:
    if report.truncated:
        message = (
            f"The report was truncated at 4,096 bytes: {report.problem}. The client library shortens long reports."
        )
        return _unknown(Reason.REPORT_TOO_LONG, message, code)
    return _unknown(Reason.REPORT_GARBLED, f"The probe exited with code {code}; its report is {report.problem}.", code)


def _judge_exit_code(code: int, report: Report | InvalidReport | None) -> Judgement:
    """`verdictFrom: exitCode`: 0 passes, another code of the probe itself fails, one of what killed it is unknown."""
    body = report.body if isinstance(report, Report) else None
    if code == 0:
        return Judgement(Verdict.PASS, Reason.PASSED, "", code, body)
    if not explain_exit_code(code).is_own:
        return _unknown(Reason.REPORT_MISSING, f"The probe exited with {_describe(code)}.", code, body)
    errors = "; ".join(report.errors) if isinstance(report, Report) else ""
    message = errors or f"The probe exited with {_describe(code)}."
    return Judgement(Verdict.FAIL, Reason.EXITED_NONZERO, message, code, body)


def _describe(code: int) -> str:
    meaning = explain_exit_code(code).meaning
    return f"code {code} ({meaning})" if meaning else f"code {code}"


def _judge_failed_pod(status: dict[str, Any], sidecars: Collection[str]) -> Judgement:
    """The pod has ended, without a state of the probe container. `sidecars`: names of restartable init containers."""
    if status.get("reason") == "DeadlineExceeded":
        return _unknown(Reason.RUN_DEADLINE, "Kubernetes ended the pod at its activeDeadlineSeconds.")
    for init in status.get("initContainerStatuses") or []:
        if init["name"] in sidecars:  # it was ended with the pod
            continue
        ended = (init.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode", 0) != 0:
            code = _describe(int(ended["exitCode"]))
            message = f"Init container {init['name']} exited with {code}. {ended.get('message') or ''}"
            return _unknown(Reason.INIT_FAILED, message.strip())
    message = status.get("message") or status.get("reason") or f"The pod is {status.get('phase')}."
    return _unknown(Reason.CONTAINER_NOT_STARTED, f"The probe container never ran: {message}")


def _judge_pending(pod: Pod, policy: Policy, now: datetime, running_since: datetime | None) -> Judgement | None:
    """The probe has not ended: find a reason to stop waiting."""
    started = _probe_time(pod, "startedAt")
    is_terminating = pod["metadata"].get("deletionTimestamp") is not None
    if not started and not is_terminating and (problem := find_start_problem(pod)):
        return _unknown(*problem)
    if now < deadline(pod, policy, running_since):
        return None
    if is_terminating:
        return _unknown(Reason.POD_DELETED, "The pod is being deleted, not by KubeProbe, and has not ended.")
    if started:
        return _unknown(Reason.RUN_DEADLINE, f"The probe did not end within {policy.run.total_seconds():g} s.")
    reason, message = explain_wait(pod)
    return _unknown(reason, f"Not started within {policy.start.total_seconds():g} s: {message}")


def _unknown(reason: Reason, message: str, code: int | None = None, body: dict[str, Any] | None = None) -> Judgement:
    return Judgement(Verdict.UNKNOWN, reason, message, code, body)


def _with_times(found: Judgement, pod: Pod) -> Judgement:
    conditions = (pod.get("status") or {}).get("conditions") or []
    scheduled = next(
        (c.get("lastTransitionTime") for c in conditions if c["type"] == "PodScheduled" and c["status"] == "True"), None
    )
    return replace(
        found,
        message=without_nul(found.message),
        node=(pod.get("spec") or {}).get("nodeName"),
        scheduled_at=_time(scheduled) if scheduled else None,
        started_at=_probe_time(pod, "startedAt"),
        finished_at=_probe_time(pod, "finishedAt"),
    )


def _probe_state(pod: Pod) -> dict[str, Any]:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status["name"] == PROBE_CONTAINER:
            state: dict[str, Any] = status.get("state") or {}
            return state
    return {}


def _probe_time(pod: Pod, key: str) -> datetime | None:
    state = _probe_state(pod)
    moment = (state.get("terminated") or state.get("running") or {}).get(key)
    found = _time(moment) if moment else None
    # containerd reports the epoch for a container that never started.
    return found if found and found.year > 1970 else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


REFUSALS = {
    Cause.CLUSTER_UNREACHABLE: Reason.CLUSTER_UNREACHABLE,
    Cause.CREDENTIALS_UNAVAILABLE: Reason.CREDENTIALS_UNAVAILABLE,
    Cause.NOT_SENT: Reason.NOT_LAUNCHED,
    Cause.UNAUTHORIZED: Reason.CREDENTIALS_REFUSED,
    Cause.FORBIDDEN: Reason.PERMISSION_MISSING,
    Cause.ADMISSION_DENIED: Reason.ADMISSION_DENIED,
    Cause.QUOTA_EXCEEDED: Reason.QUOTA_EXCEEDED,
    Cause.NAMESPACE_TERMINATING: Reason.NAMESPACE_TERMINATING,
    Cause.NAMESPACE_MISSING: Reason.NAMESPACE_MISSING,
    Cause.INVALID: Reason.POD_REFUSED,
    Cause.ALREADY_EXISTS: Reason.NAME_TAKEN,
    Cause.CONFLICT: Reason.CLUSTER_ERROR,
    Cause.NOT_FOUND: Reason.CLUSTER_ERROR,
    Cause.GONE: Reason.CLUSTER_ERROR,
    Cause.THROTTLED: Reason.CLUSTER_THROTTLED,
    Cause.SERVER_ERROR: Reason.CLUSTER_ERROR,
}
"""The reason of each cause; a test checks that none is missing."""
