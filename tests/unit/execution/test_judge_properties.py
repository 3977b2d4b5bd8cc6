"""Properties of every judgement, with generated pods."""

from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubeprobe.execution.judge import Policy, deadline, judge
from kubeprobe.fleet.serverclock import ServerClock
from kubeprobe.vocabulary import Reason, Verdict
from tests.unit.execution.given import CREATED, GAVE_UP, NOT_OK, OK, Pod, at

HONEST = {
    Verdict.PASS: {Reason.PASSED},
    Verdict.FAIL: {Reason.REPORTED_FAILURE, Reason.EXITED_NONZERO},
}
REASONS = ["", "Evicted", "NodeLost", "DeadlineExceeded", "Preempting", "Terminated", "SomethingNew"]
WAITING = [
    "ContainerCreating",
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
    "",
]

texts = st.one_of(st.none(), st.text(max_size=40), st.sampled_from([OK, NOT_OK, GAVE_UP, "not found", "429"]))
times = st.one_of(st.none(), st.integers(-10, 400).map(at))


def parts(**fields: Any) -> Any:
    """Objects that may lack any of these fields, or have null instead."""
    return st.fixed_dictionaries({}, optional={k: st.one_of(st.none(), v) for k, v in fields.items()})


ends = st.builds(
    lambda code, more: {"exitCode": code, **more},
    st.sampled_from([0, 1, 2, 128, 137, 143, 255]),
    parts(reason=st.sampled_from(["Completed", "Error", "OOMKilled", "StartError"]), message=texts)
    | parts(message=texts, startedAt=times, finishedAt=times),
)
states = st.one_of(
    st.none(),
    st.just({}),
    st.fixed_dictionaries({"waiting": parts(reason=st.sampled_from(WAITING), message=texts)}),
    st.fixed_dictionaries({"running": parts(startedAt=times)}),
    st.fixed_dictionaries({"terminated": ends}),
)
containers = st.lists(
    st.builds(lambda name, more: {"name": name, **more}, st.sampled_from(["probe", "sidecar"]), parts(state=states)),
    max_size=3,
)
conditions = st.lists(
    st.builds(
        lambda kind, value, more: {"type": kind, "status": value, **more},
        st.sampled_from(["PodScheduled", "DisruptionTarget", "Ready"]),
        st.sampled_from(["True", "False", "Unknown"]),
        parts(reason=st.sampled_from(REASONS), message=texts, lastTransitionTime=times),
    ),
    max_size=3,
)
statuses = parts(
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    reason=st.sampled_from(REASONS),
    message=texts,
    conditions=conditions,
    containerStatuses=containers,
    initContainerStatuses=containers,
)
specs = parts(nodeName=st.sampled_from(["n1"]), terminationGracePeriodSeconds=st.integers(0, 60))
deletions = st.one_of(
    st.just({}), st.builds(lambda t, g: {"deletionTimestamp": t, **g}, st.integers(0, 400).map(at), parts(
        deletionGracePeriodSeconds=st.integers(0, 60)))
)  # fmt: skip
pods = st.builds(
    lambda deletion, more: {"metadata": {"name": "kp", "uid": "u", "creationTimestamp": at(0), **deletion}, **more},
    deletions,
    parts(spec=specs, status=statuses),
)
policies = st.builds(
    Policy,
    verdict_from=st.sampled_from(["report", "exitCode"]),
    start=st.integers(1, 300).map(lambda s: timedelta(seconds=s)),
    run=st.integers(1, 300).map(lambda s: timedelta(seconds=s)),
)
moments = st.integers(-100, 1000).map(lambda s: CREATED + timedelta(seconds=s))


@settings(max_examples=150)
@given(pods, policies, moments, st.booleans())
def test_every_pod_can_be_judged_and_reasons_match_verdicts(
    pod: Pod,
    policy: Policy,
    now: datetime,
    deleted: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    found = judge(pod, policy, now, deleted=deleted)
    assert found is not None or not deleted
    if found is not None:
        assert (found.verdict is Verdict.UNKNOWN) == all(found.reason not in known for known in HONEST.values())
        assert found.verdict is Verdict.UNKNOWN or found.reason in HONEST[found.verdict]
        assert found.verdict is Verdict.UNKNOWN or found.exit_code is not None


@settings(max_examples=150)
@given(pods, policies, moments)
def test_what_is_not_judged_yet_is_judged_at_its_deadline(pod: Pod, policy: Policy, now: datetime) -> None:
    until = deadline(pod, policy)
    assert judge(pod, policy, until) is not None
    if judge(pod, policy, now) is None:
        assert now < until
        assert judge(pod, policy, until - timedelta(microseconds=1)) is None


@settings(max_examples=100)
@given(pods, policies, moments)
def test_only_a_probe_that_ended_by_itself_passes_or_fails(pod: Pod, policy: Policy, now: datetime) -> None:
    found = judge(pod, policy, now)
    if found is not None and found.verdict is not Verdict.UNKNOWN:
        probes = [c for c in pod["status"]["containerStatuses"] if c["name"] == "probe"]
        assert probes[0]["state"]["terminated"]["exitCode"] == found.exit_code


@given(policies, moments, st.text(max_size=300))
def test_any_termination_message_can_be_judged(policy: Policy, now: datetime, message: str) -> None:
    end = {"exitCode": 1, "message": message}
    pod = {
        "metadata": {"name": "kp", "uid": "u", "creationTimestamp": at(0)},
        "status": {"containerStatuses": [{"name": "probe", "state": {"terminated": end}}]},
    }
    found = judge(pod, policy, now)
    assert found is not None
    assert "\0" not in found.message


@settings(max_examples=150)
@given(pods, policies, st.integers(-300, 300), st.integers(0, 600), st.floats(0, 0.999), st.floats(0, 5))
def test_a_judgement_is_the_same_whatever_the_collectors_clock_says(
    pod: Pod, policy: Policy, skew_s: int, passed_s: int, fraction: float, delay_s: float
) -> None:
    """The offset is measured by a response that was made at some moment between request and receipt."""
    true = CREATED + timedelta(seconds=passed_s + fraction)
    skew, delay = timedelta(seconds=skew_s), timedelta(seconds=delay_s)
    clock = ServerClock()
    clock.observe(format_datetime(true.replace(microsecond=0), usegmt=True), true - delay - skew, true + delay - skew)
    seen = (true - skew) + clock.offset
    error = timedelta(seconds=1) + delay
    assert abs(seen - true) <= error
    if abs(true - deadline(pod, policy)) > error:
        found, expected = judge(pod, policy, seen), judge(pod, policy, true)
        assert (found and found.reason) == (expected and expected.reason)
