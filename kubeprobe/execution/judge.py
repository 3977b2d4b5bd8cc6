"""The judgement: what a pod's state means for its run. Pure functions; next stage: `runs.close`.

`judge` is asked again at every watch event and when `deadline` has passed; it answers None while the run goes on.
Two rules decide everything (promise 6): a verdict is what the probe container's exit code and report agree on,
and whatever keeps us from knowing is `unknown`, with the reason. Other containers (sidecars) have no say.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kubeprobe.execution.report import Report, Unreadable, read_report, storable
from kubeprobe.execution.trouble import disruption, end_trouble, start_trouble, waiting_to_start
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.runs.verdicts import Judgement
from kubeprobe.vocabulary import PROBE_CONTAINER, Reason, Verdict

Pod = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """How a run's pod is to be judged; carried by the pod itself (annotation `kubeprobe.io/policy`)."""

    verdict_from: str = "report"
    start: timedelta = timedelta(seconds=60)
    """From the pod's creation to the start of the probe container."""
    run: timedelta = timedelta(seconds=90)
    """From the start of the probe container to its end."""
    retries: int = 1


def judge(pod: Pod, policy: Policy, now: datetime, *, deleted: bool = False) -> Judgement | None:
    """What the pod's state means; None while its probe may still end by itself.

    `deleted`: the pod is gone and this is the last that was seen of it.
    """
    found = _judge(pod, policy, now, deleted=deleted)
    return found and _with_times(found, pod)


def judge_refusal(error: ClusterError) -> Judgement:
    """What it means that the cluster did not take the pod."""
    return Judgement(Verdict.UNKNOWN, REFUSALS[error.cause], storable(error.message))


def deadline(pod: Pod, policy: Policy) -> datetime:
    """When `judge` has to be asked again although nothing was heard of the pod."""
    started = _probe_time(pod, "startedAt")
    if started is not None:
        return started + policy.run
    return _time(pod["metadata"]["creationTimestamp"]) + policy.start


def _judge(pod: Pod, policy: Policy, now: datetime, *, deleted: bool) -> Judgement | None:
    if end := _probe_state(pod).get("terminated"):
        return _judge_end(pod, end, policy, deleted=deleted)
    if trouble := disruption(pod):
        return _unknown(*trouble)
    if deleted:
        return _unknown(Reason.POD_DELETED, "The pod was deleted before its probe ended, and not by KubeProbe.")
    status = pod.get("status") or {}
    if status.get("phase") in {"Failed", "Succeeded"}:
        return _judge_failed_pod(status)
    return _judge_pending(pod, policy, now)


def _judge_end(pod: Pod, end: dict[str, Any], policy: Policy, *, deleted: bool) -> Judgement:
    """The probe container has ended: weigh its exit code against its report, and ask who ended it."""
    code = int(end["exitCode"])
    report = read_report(end.get("message"))
    found = _weigh_exit_code(code, report) if policy.verdict_from == "exitCode" else _weigh_report(code, report)
    if found.verdict is Verdict.PASS:
        return found
    trouble = _taken_away(pod, deleted=deleted)
    if trouble is None and found.reason is not Reason.REPORTED_FAILURE:
        trouble = end_trouble(pod, end)
    if trouble is None:
        return found
    return replace(found, verdict=Verdict.UNKNOWN, reason=trouble[0], message=trouble[1])


def _taken_away(pod: Pod, *, deleted: bool) -> tuple[Reason, str] | None:
    """Eviction or deletion that may have ended the probe; what it said before that stands (failure mode 6)."""
    finished = _probe_time(pod, "finishedAt")
    if trouble := disruption(pod, finished):
        return trouble
    metadata = pod["metadata"]
    if (told := metadata.get("deletionTimestamp")) is None:
        return None if finished or not deleted else (Reason.POD_DELETED, "The pod was deleted, and not by KubeProbe.")
    # The time told is when its grace is over, and the kubelet sets the grace to 0 in the end.
    spec = pod.get("spec") or {}
    grace = max(metadata.get("deletionGracePeriodSeconds") or 0, spec.get("terminationGracePeriodSeconds") or 0)
    if finished is not None and finished < _time(told) - timedelta(seconds=grace):
        return None
    return Reason.POD_DELETED, "The pod was deleted while its probe ran, and not by KubeProbe."


def _weigh_report(code: int, report: Report | Unreadable | None) -> Judgement:
    """`verdictFrom: report`: report and exit code must agree."""
    match report:
        case None:
            return _unknown(Reason.REPORT_MISSING, f"The probe exited with {code} and left no report.", code)
        case Unreadable():
            return _weigh_unreadable(code, report)
        case Report(unknown=str(why), body=body) if code != 0:
            return _unknown(Reason.PROBE_GAVE_UP, why, code, body)
        case Report(ok=True, body=body) if code == 0:
            return Judgement(Verdict.PASS, Reason.PASSED, "", code, body)
        case Report(ok=False, unknown=None, errors=errors, body=body) if code == 1:
            return Judgement(Verdict.FAIL, Reason.REPORTED_FAILURE, "; ".join(errors), code, body)
        case Report(ok=ok, body=body):
            told = f"The report says ok: {str(ok).lower()}, yet the exit code is {code}."
            return _unknown(Reason.REPORT_DISAGREES, told, code, body)


def _weigh_unreadable(code: int, report: Unreadable) -> Judgement:
    if report.cut:
        told = f"The report fills all of 4,096 bytes and was cut ({report.why}); the client library shortens honestly."
        return _unknown(Reason.REPORT_TOO_LONG, told, code)
    return _unknown(Reason.REPORT_GARBLED, f"The probe exited with {code}; its report is {report.why}.", code)


def _weigh_exit_code(code: int, report: Report | Unreadable | None) -> Judgement:
    """`verdictFrom: exitCode`: 0 passes, what the probe itself returned otherwise fails. A signal is no answer."""
    body = report.body if isinstance(report, Report) else None
    if code == 0:
        return Judgement(Verdict.PASS, Reason.PASSED, "", code, body)
    if code >= 128:  # killed by a signal, or never run (shell convention, kept by the container runtimes)
        return _unknown(Reason.REPORT_MISSING, f"The probe was killed by signal {code - 128}.", code, body)
    errors = "; ".join(report.errors) if isinstance(report, Report) else ""
    return Judgement(Verdict.FAIL, Reason.EXITED_NONZERO, errors or f"The probe exited with {code}.", code, body)


def _judge_failed_pod(status: dict[str, Any]) -> Judgement:
    """The pod has ended as a whole, and nothing is known of the probe container."""
    if status.get("reason") == "DeadlineExceeded":
        return _unknown(Reason.RUN_DEADLINE, "Kubernetes ended the pod at its activeDeadlineSeconds.")
    for init in status.get("initContainerStatuses") or []:
        ended = (init.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode", 0) != 0:
            told = f"Init container {init['name']} exited with {ended['exitCode']}. {ended.get('message', '')}"
            return _unknown(Reason.INIT_FAILED, told.strip())
    told = status.get("message") or status.get("reason") or f"The pod is {status.get('phase')}."
    return _unknown(Reason.CONTAINER_NOT_STARTED, f"The probe container never ran: {told}")


def _judge_pending(pod: Pod, policy: Policy, now: datetime) -> Judgement | None:
    """The probe has not ended: find a reason not to wait any longer."""
    started = _probe_time(pod, "startedAt")
    leaving = pod["metadata"].get("deletionTimestamp") is not None  # its end, or its deletion, will tell
    if not started and not leaving and (trouble := start_trouble(pod)):
        return _unknown(*trouble)
    if now < deadline(pod, policy):
        return None
    if leaving:
        return _unknown(Reason.POD_DELETED, "The pod is being deleted, not by KubeProbe, and does not end.")
    if started:
        return _unknown(Reason.RUN_DEADLINE, f"The probe did not end within {policy.run.total_seconds():g} s.")
    reason, told = waiting_to_start(pod)
    return _unknown(reason, f"Not started within {policy.start.total_seconds():g} s: {told}")


def _unknown(reason: Reason, message: str, code: int | None = None, body: dict[str, Any] | None = None) -> Judgement:
    return Judgement(Verdict.UNKNOWN, reason, message, code, body)


def _with_times(found: Judgement, pod: Pod) -> Judgement:
    conditions = (pod.get("status") or {}).get("conditions") or []
    scheduled = next(
        (c.get("lastTransitionTime") for c in conditions if c["type"] == "PodScheduled" and c["status"] == "True"), None
    )
    return replace(
        found,
        message=storable(found.message),
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
    told = (state.get("terminated") or state.get("running") or {}).get(key)
    found = _time(told) if told else None
    return found if found and found.year > 1970 else None  # containerd tells the epoch of what never started


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


REFUSALS = {
    Cause.CLUSTER_UNREACHABLE: Reason.CLUSTER_UNREACHABLE,
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
"""Every cause of the door has its reason; a test keeps it so."""
