import pytest
from kubeprobe_client import Run

from probes.pod_lifecycle.pod import is_ready, manifest, warnings, why_not_ready

RUN = Run(id="r1", installation="i1", namespace="kubeprobe", pod_name="probe-pod", pod_uid="u1")


def pod(node: str = "", **status: object) -> dict:
    return {"spec": {"nodeName": node} if node else {}, "status": {"phase": "Pending", **status}}


def waiting(reason: str, message: str = "") -> dict:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


@pytest.mark.parametrize(
    ("unready", "why"),
    [
        (pod(), "Pending: no scheduler has processed it"),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]),
            "Unschedulable: 0/1",
        ),
        (pod("n1"), "Pending: scheduled to node n1, whose kubelet has not acknowledged it"),
        (pod("n1", **waiting("ErrImagePull", "not found")), "ErrImagePull: not found"),
        (pod("n1", **waiting("CreateContainerConfigError", "no map")), "CreateContainerConfigError: no map"),
        (
            pod(
                "n1",
                startTime="2026-11-23T12:00:00Z",
                conditions=[{"type": "Ready", "status": "False", "message": "containers not ready: [user]"}],
                **waiting("ContainerCreating"),
            ),
            "Pending on node n1: containers not ready: [user]",
        ),
        (
            pod("n1", containerStatuses=[{"state": {"terminated": {"reason": "Error", "exitCode": 127}}}]),
            "Error, exit code 127",
        ),
        (pod("n1", reason="Evicted", message="low on memory"), "Evicted: low on memory"),
    ],
)
def test_the_cause_of_an_unready_pod_is_reported(unready, why) -> None:
    assert not is_ready(unready)
    assert why_not_ready(unready) == why


def test_the_last_two_warnings_are_kept_and_repeats_are_not() -> None:
    def event(kind: str, reason: str, when: str) -> dict:
        return {"type": kind, "reason": reason, "message": "m", "lastTimestamp": when}

    events = [
        event("Warning", "Third", "2026-11-23T12:00:03Z"),
        event("Warning", "First", "2026-11-23T12:00:01Z"),
        event("Normal", "Scheduled", "2026-11-23T12:00:09Z"),
        event("Warning", "Second", "2026-11-23T12:00:02Z"),
        event("Warning", "Third", "2026-11-23T12:00:04Z"),
    ]
    assert warnings(events, "") == ["event Second: m", "event Third: m"]


def test_a_duplicate_warning_is_left_out() -> None:
    event = {"type": "Warning", "reason": "Failed", "message": "Error: ErrImagePull"}
    assert warnings([event], "pod not ready after 3 s: ErrImagePull: not found") == []


def test_the_pod_belongs_to_the_run_and_in_its_namespace_to_the_probes_pod() -> None:
    metadata = manifest("p", "kubeprobe", "image", "token", RUN, 60)["metadata"]
    assert metadata["labels"]["kubeprobe.io/run"] == "r1"
    assert metadata["labels"]["kubeprobe.io/installation"] == "i1"
    assert metadata["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "probe-pod", "uid": "u1"}]
    assert "ownerReferences" not in manifest("p", "other", "image", "token", RUN, 60)["metadata"]
