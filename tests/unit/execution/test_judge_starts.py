"""Judgements of pods whose probe container has not ended: waiting, failed to start, overdue, deleted."""

from datetime import timedelta

import pytest

from kubeprobe.execution.judge import REFUSALS, deadline, judge, judge_refusal
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.vocabulary import Reason, Verdict
from tests.unit.execution.given import (
    CREATED,
    POLICY,
    Pod,
    condition,
    container,
    disrupted,
    pending,
    pod,
    running,
    waiting,
)

EARLY = CREATED + timedelta(seconds=20)
AT_START_DEADLINE = CREATED + timedelta(seconds=60)
NOT_FOUND = (
    'Back-off pulling image "docker.io/a/b:1": ErrImagePull: failed to pull and unpack image "docker.io/a/b:1": '
    'failed to resolve reference "docker.io/a/b:1": docker.io/a/b:1: not found'
)
DENIED = "pull access denied, repository does not exist or may require authorization"
THROTTLED = (
    "unexpected status from HEAD request to https://registry-1.docker.io/v2/a/b/manifests/1: 429 Too Many Requests "
    "- Server message: toomanyrequests: You have reached your unauthenticated pull rate limit."
)
OVERLOADED = "unexpected status from HEAD request to https://r.example/v2/a/b/manifests/1: 503 Service Unavailable"
NO_ROUTE = "dial tcp: lookup r.example: network is unreachable"
NO_NODE = {"conditions": [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available.")]}
INIT = pending(
    waiting("PodInitializing"), initContainerStatuses=[container("wait", terminated={"exitCode": 3, "message": "no"})]
)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (pending(waiting("ErrImagePull", NOT_FOUND)), Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ImagePullBackOff", NOT_FOUND)), Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ErrImagePull", DENIED)), Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ErrImageNeverPull", "not present")), Reason.IMAGE_NOT_PULLED),
        (pending(waiting("InvalidImageName", "invalid reference format")), Reason.IMAGE_NOT_PULLED),
        (pending(waiting("CreateContainerConfigError", 'secret "x" not found')), Reason.CONFIG_INVALID),
        (pending(waiting("CreateContainerError", "no command specified")), Reason.CONTAINER_NOT_STARTED),
        (pending(waiting("RunContainerError", "exec failed")), Reason.CONTAINER_NOT_STARTED),
        (pending(initContainerStatuses=[waiting("ImagePullBackOff", NOT_FOUND, "wait")]), Reason.IMAGE_NOT_PULLED),
        (INIT | {"phase": "Failed"}, Reason.INIT_FAILED),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, Reason.RUN_DEADLINE),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, Reason.EVICTED),
        ({"phase": "Failed", "reason": "Preempting"}, Reason.PREEMPTED),
        ({"phase": "Failed", "reason": "NodeLost"}, Reason.NODE_LOST),
        ({"phase": "Failed", "reason": "NodeAffinity"}, Reason.UNSCHEDULABLE),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError"}, Reason.EVICTED),
        (
            {"phase": "Failed", "reason": "OutOfpods", "message": "Node didn't have enough"},
            Reason.CONTAINER_NOT_STARTED,
        ),
        ({"phase": "Failed"}, Reason.CONTAINER_NOT_STARTED),
        ({"phase": "Succeeded"}, Reason.CONTAINER_NOT_STARTED),
        ({"phase": "Unknown"}, Reason.NODE_LOST),
        (running(5, reason="NodeLost", message="Node n1 is unresponsive"), Reason.NODE_LOST),
        (running(5, **disrupted("EvictionByEvictionAPI", 9)), Reason.EVICTED),
        (pending(**disrupted("PreemptionByScheduler", 9)), Reason.PREEMPTED),
        (pending(**disrupted("DeletionByTaintManager", 9)), Reason.NODE_LOST),
    ],
)
def test_a_probe_that_will_never_end_by_itself_is_unknown_at_once(status: Pod, reason: Reason) -> None:
    found = judge(pod(status), POLICY, CREATED)
    assert found is not None
    assert (found.verdict, found.reason, found.exit_code) == (Verdict.UNKNOWN, reason, None)


@pytest.mark.parametrize(
    ("status", "node", "reason"),
    [
        (pending(waiting("ErrImagePull", THROTTLED)), "n1", Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ImagePullBackOff", THROTTLED)), "n1", Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ErrImagePull", OVERLOADED)), "n1", Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ErrImagePull", NO_ROUTE)), "n1", Reason.IMAGE_NOT_PULLED),
        (pending(waiting("ImagePullBackOff", 'Back-off pulling image "a"')), "n1", Reason.IMAGE_NOT_PULLED),
        (
            pending(waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting")),
            "n1",
            Reason.START_DEADLINE,
        ),
        (pending(waiting("CreateContainerError", "context deadline exceeded")), "n1", Reason.START_DEADLINE),
        (pending(waiting("ContainerCreating")), "n1", Reason.START_DEADLINE),
        (INIT, "n1", Reason.START_DEADLINE),
        (pending(), "n1", Reason.START_DEADLINE),
        (pending(**NO_NODE), None, Reason.UNSCHEDULABLE),
        (pending(), None, Reason.START_DEADLINE),
        ({}, None, Reason.START_DEADLINE),
    ],
)
def test_a_probe_that_may_still_start_has_until_its_start_deadline(
    status: Pod, node: str | None, reason: Reason
) -> None:
    seen = pod(status, node=node)
    assert judge(seen, POLICY, EARLY) is None
    assert deadline(seen, POLICY) == AT_START_DEADLINE
    found = judge(seen, POLICY, AT_START_DEADLINE)
    assert found is not None
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason)
    assert found.message.startswith("Not started within 60 s: ")


def test_the_message_of_an_unschedulable_pod_is_the_schedulers() -> None:
    found = judge(pod(pending(**NO_NODE), node=None), POLICY, AT_START_DEADLINE)
    assert found is not None
    assert found.message == "Not started within 60 s: 0/3 nodes are available."


def test_the_run_deadline_counts_from_the_start_of_the_probe() -> None:
    seen = pod(running(50))
    assert deadline(seen, POLICY) == CREATED + timedelta(seconds=50 + 90)
    assert judge(seen, POLICY, CREATED + timedelta(seconds=139)) is None
    found = judge(seen, POLICY, CREATED + timedelta(seconds=140))
    assert found is not None
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.RUN_DEADLINE)
    assert found.message == "The probe did not end within 90 s."


@pytest.mark.parametrize("status", [pending(), running(), pending(waiting("ErrImagePull", NOT_FOUND))])
def test_a_pod_deleted_before_its_probe_ended_is_unknown(status: Pod) -> None:
    found = judge(pod(status), POLICY, EARLY, deleted=True)
    assert found is not None
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.POD_DELETED)


@pytest.mark.parametrize("status", [pending(), running(), pending(waiting("ErrImagePull", NOT_FOUND))])
def test_a_terminating_pod_may_still_end_until_its_deadline(status: Pod) -> None:
    seen = pod(status, deleted_at=15)
    assert judge(seen, POLICY, EARLY) is None
    found = judge(seen, POLICY, deadline(seen, POLICY))
    assert found is not None
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.POD_DELETED)


def test_every_cause_has_a_reason() -> None:
    assert set(REFUSALS) == set(Cause)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (Cause.ADMISSION_DENIED, Reason.ADMISSION_DENIED),
        (Cause.QUOTA_EXCEEDED, Reason.QUOTA_EXCEEDED),
        (Cause.CLUSTER_UNREACHABLE, Reason.CLUSTER_UNREACHABLE),
        (Cause.NAMESPACE_TERMINATING, Reason.NAMESPACE_TERMINATING),
        (Cause.NAMESPACE_MISSING, Reason.NAMESPACE_MISSING),
        (Cause.UNAUTHORIZED, Reason.CREDENTIALS_REFUSED),
        (Cause.FORBIDDEN, Reason.PERMISSION_MISSING),
        (Cause.INVALID, Reason.POD_REFUSED),
        (Cause.ALREADY_EXISTS, Reason.NAME_TAKEN),
        (Cause.THROTTLED, Reason.CLUSTER_THROTTLED),
        (Cause.SERVER_ERROR, Reason.CLUSTER_ERROR),
    ],
)
def test_a_run_whose_pod_is_rejected_is_unknown(cause: Cause, reason: Reason) -> None:
    found = judge_refusal(ClusterError(cause, "because\0", where="cluster c: POST /"))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason)
    assert found.message == "because\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "RunContainerError", "CreateContainerError"])
def test_a_sidecar_that_crashes_during_start_up_has_until_the_start_deadline(reason: str) -> None:
    seen = pod(pending(waiting("PodInitializing"), initContainerStatuses=[waiting(reason, "exit 1", "mesh")]))
    seen["spec"]["initContainers"] = [{"name": "mesh", "restartPolicy": "Always"}]
    assert judge(seen, POLICY, EARLY) is None
    found = judge(seen, POLICY, AT_START_DEADLINE)
    assert found is not None
    assert found.reason is Reason.START_DEADLINE
    assert f"container mesh: {reason}" in found.message
    seen["spec"]["initContainers"] = [{"name": "mesh"}]
    once = judge(seen, POLICY, EARLY)
    assert once is not None, "an init container without restarts does not start again"


@pytest.mark.parametrize("started", [-61, 5, 61])
def test_a_nodes_clock_neither_shortens_nor_extends_the_time_of_a_probe(started: float) -> None:
    since = CREATED + timedelta(seconds=6)
    until = deadline(pod(running(started)), POLICY, since)
    assert timedelta(seconds=90) <= until - CREATED <= timedelta(seconds=96)
    assert judge(pod(running(started)), POLICY, until - timedelta(seconds=1), running_since=since) is None
    assert judge(pod(running(started)), POLICY, until, running_since=since) is not None
