import math
from datetime import UTC, datetime, timedelta

import pytest
from kubeprobe_client import Run

STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ENVIRONMENT = {
    "KUBEPROBE_RUN_ID": "01jd0000000000000000000000",
    "KUBEPROBE_INSTALLATION": "inst",
    "KUBEPROBE_CASE": "pod-lifecycle",
    "KUBEPROBE_CLUSTER": "prod-1",
    "KUBEPROBE_TRIGGER": "manual",
    "KUBEPROBE_RUN_TIMEOUT": "90",
    "KUBEPROBE_POD_NAME": "probe-pod",
    "KUBEPROBE_POD_UID": "uid-1",
    "KUBEPROBE_NAMESPACE": "kubeprobe",
}


def test_the_run_is_read_from_the_environment() -> None:
    run = Run.from_environment(ENVIRONMENT, STARTED)
    assert (run.id, run.case, run.cluster, run.trigger) == (
        "01jd0000000000000000000000",
        "pod-lifecycle",
        "prod-1",
        "manual",
    )
    assert run.deadline == STARTED + timedelta(seconds=90)
    assert run.labels == {"kubeprobe.io/installation": "inst", "kubeprobe.io/run": "01jd0000000000000000000000"}


def test_a_run_by_hand_has_no_id_and_no_deadline() -> None:
    run = Run.from_environment({}, STARTED)
    assert run == Run()
    assert run.remaining() == math.inf
    assert run.labels == {}
    assert run.owner_reference() is None


def test_remaining_time_excludes_the_margin_and_is_never_negative() -> None:
    run = Run.from_environment(ENVIRONMENT, STARTED)
    assert run.remaining(STARTED + timedelta(seconds=30)) == 90 - 9 - 30
    assert run.remaining(STARTED + timedelta(seconds=100)) == 0


@pytest.mark.parametrize(
    ("timeout", "margin"), [("1", 0.5), ("10", 2), ("20", 2), ("60", 6), ("600", 10), ("2.5", 1.25)]
)
def test_the_margin_is_a_tenth_within_bounds(timeout: str, margin: float) -> None:
    assert Run.from_environment({"KUBEPROBE_RUN_TIMEOUT": timeout}, STARTED).margin == pytest.approx(margin)


@pytest.mark.parametrize("timeout", ["soon", "-1", "0", "nan", "1e300"])
def test_an_invalid_timeout_is_ignored_with_a_message(timeout: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Run.from_environment({"KUBEPROBE_RUN_TIMEOUT": timeout}, STARTED).deadline is None
    assert timeout in capsys.readouterr().err


def test_an_owner_reference_is_only_for_the_pods_own_namespace() -> None:
    run = Run.from_environment(ENVIRONMENT, STARTED)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "probe-pod", "uid": "uid-1"}
    assert run.owner_reference() == owner
    assert run.owner_reference("kubeprobe") == owner
    assert run.owner_reference("other") is None
