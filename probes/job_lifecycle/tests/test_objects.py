from datetime import UTC, datetime
from typing import Any

import pytest
from kubeprobe_client import Run

from probes.job_lifecycle import objects

RUN = Run(id="run-1", installation="here", namespace="kubeprobe", pod_name="probe", pod_uid="uid-1")


def conditions(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": is_so} for kind, is_so in pairs]}}


def test_all_objects_have_the_runs_labels_and_the_instance() -> None:
    cron_job = objects.cron_job(RUN, "x-cron", "kubeprobe", "image", 60)
    template = cron_job["spec"]["jobTemplate"]
    for labels in (
        cron_job["metadata"]["labels"],
        template["metadata"]["labels"],
        template["spec"]["template"]["metadata"]["labels"],
    ):
        assert labels["kubeprobe.io/run"] == "run-1"
        assert labels[objects.INSTANCE] == "x-cron"
    assert cron_job["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


def test_a_job_has_a_deadline_and_no_retries() -> None:
    spec = objects.job(RUN, "x", "kubeprobe", "image", 5, 90)["spec"]
    assert (spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (5, 90, 0)


@pytest.mark.parametrize(
    ("pairs", "finished"),
    [
        ([("Complete", "True")], True),
        ([("Failed", "True")], True),
        ([("Complete", "False"), ("SuccessCriteriaMet", "True")], False),
        ([], False),
    ],
)
def test_a_job_has_finished_when_it_is_complete_or_failed(pairs, finished) -> None:
    assert objects.has_finished(conditions(*pairs)) is finished


def test_the_cause_of_an_unfinished_job_is_reported() -> None:
    failed = {
        "status": {
            "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "gone"}]
        }
    }

    def why(job: dict[str, Any], *pods: dict[str, Any]) -> str:
        return objects.why_not_finished(job, list(pods), lambda _pod: "ErrImagePull")

    assert why(failed) == "it failed: BackoffLimitExceeded: gone"
    assert why({}, {"metadata": {"name": "p"}}) == "pod p: ErrImagePull"
    assert why({}) == "kube-controller-manager's Job controller has not processed it"
    assert why({"status": {"startTime": "now"}}) == "the Job controller could not create its pod"


def test_only_the_controller_counts_as_owner() -> None:
    owner = {"metadata": {"uid": "u"}}
    assert objects.is_owned_by({"metadata": {"ownerReferences": [{"uid": "u", "controller": True}]}}, owner)
    assert not objects.is_owned_by({"metadata": {"ownerReferences": [{"uid": "u"}]}}, owner)
    assert not objects.is_owned_by({"metadata": {}}, owner)


def test_a_cron_job_is_due_at_the_next_full_minute() -> None:
    created = datetime(2026, 11, 25, 17, 59, 59, tzinfo=UTC)
    assert objects.first_minute_after(created) == datetime(2026, 11, 25, 18, 0, tzinfo=UTC)


def test_lateness_is_computed_from_the_controllers_annotation() -> None:
    job = {
        "metadata": {
            "creationTimestamp": "2026-11-25T18:00:04Z",
            "annotations": {objects.SCHEDULED: "2026-11-25T18:00:00Z"},
        }
    }
    assert objects.lateness(job) == 4
    assert objects.lateness({"metadata": {"creationTimestamp": "2026-11-25T18:00:04Z"}}) is None
