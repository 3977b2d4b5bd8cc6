import subprocess
from pathlib import Path
from typing import Any

import pytest
from kubeprobe_client import Run

from probes.volume_lifecycle import objects

Json = dict[str, Any]
RUN = Run(id="01run", installation="test", namespace="kubeprobe", pod_name="kp", pod_uid="1")


def storage_class(name: str, *, default: bool = False, created: str = "2026-01-01T00:00:00Z", **fields: Any) -> Json:
    annotations = {objects.DEFAULT_CLASS: "true"} if default else {}
    return {
        "metadata": {"name": name, "annotations": annotations, "creationTimestamp": created},
        "provisioner": "csi.example.com",
        **fields,
    }


def test_the_newest_default_class_is_used() -> None:
    old, new = storage_class("old", default=True), storage_class("new", default=True, created="2026-02-01T00:00:00Z")
    assert objects.choose_class([storage_class("other"), new, old], "") == new
    assert objects.choose_class([storage_class("other")], "") is None


def test_a_requested_class_is_chosen_by_name() -> None:
    assert objects.choose_class([storage_class("a", default=True), storage_class("b")], "b") == storage_class("b")
    assert objects.choose_class([storage_class("a", default=True)], "b") is None


def test_a_claim_without_a_volume_is_reported_with_its_provisioner() -> None:
    assert objects.why_not_bound({"status": {"phase": "Pending"}}, storage_class("fast")) == (
        "Pending: provisioner csi.example.com of StorageClass fast has created no volume"
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, "no resizer of csi.example.com has processed it"),
        ({"conditions": [{"type": "Resizing"}]}, "Resizing"),
        (
            {"conditions": [{"type": "FileSystemResizePending", "message": "Waiting for a pod"}]},
            "FileSystemResizePending: Waiting for a pod",
        ),
        (
            {"allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}},
            "storage ControllerResizeInfeasible",
        ),
    ],
)
def test_a_claim_that_is_not_expanded_is_reported_with_its_progress(status: Json, expected: str) -> None:
    claim = {"status": {"capacity": {"storage": "1Gi"}, **status}}
    assert objects.why_not_expanded(claim, storage_class("fast")) == f"its capacity is still 1Gi: {expected}"


def test_a_difference_in_read_data_is_reported_and_other_failures_are_not_a_loss() -> None:
    def ended(code: int, message: str = "") -> Json:
        return {"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": code, "message": message}}}]}}

    assert objects.different_content(ended(3, "something else\n")) == "something else"
    assert objects.different_content(ended(3)) == "nothing"
    assert objects.different_content(ended(1)) is None
    assert objects.different_content({}) is None


def test_the_reader_script_reads_what_the_writer_script_wrote(tmp_path: Path) -> None:
    def shell(script: str) -> int:
        local = script.replace(objects.FILE, str(tmp_path / "file")).replace(
            "/dev/termination-log", str(tmp_path / "log")
        )
        return subprocess.run(["sh", "-c", local.replace("sleep 3600 & wait", "true")], check=False).returncode

    assert shell(objects.reader("abc")) == 3
    assert shell(objects.writer("abc")) == 0
    assert shell(objects.reader("abc")) == 0
    (tmp_path / "file").write_text("changed\n")
    assert shell(objects.reader("abc")) == 3
    assert (tmp_path / "log").read_text() == "changed\n"


def test_a_pod_has_its_owner_a_group_and_the_volume() -> None:
    pod = objects.pod(RUN, ("p", "kubeprobe", "c"), "image", "true", 60, ready="abc")
    assert pod["metadata"]["ownerReferences"][0]["name"] == "kp"
    assert pod["spec"]["securityContext"]["fsGroup"] == pod["spec"]["securityContext"]["runAsUser"]
    assert pod["spec"]["volumes"] == [{"name": "volume", "persistentVolumeClaim": {"claimName": "c"}}]


@pytest.mark.parametrize(
    ("capacity", "expanded"),
    [("1Gi", False), ("2Gi", True), ("2048Mi", True), ("10Gi", True), (None, False)],
)
def test_a_claim_is_expanded_if_it_has_at_least_the_requested_size(capacity: str | None, *, expanded: bool) -> None:
    status = {"capacity": {"storage": capacity}} if capacity else {}
    assert objects.is_expanded({"status": status}, "2Gi") is expanded
