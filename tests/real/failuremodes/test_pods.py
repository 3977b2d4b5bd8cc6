"""Failure modes 2 and 17 as a real kubelet plays them."""

import pytest

from kubeprobe.catalog import render
from kubeprobe.execution.remove import remove_pods
from kubeprobe.runs import expire
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.rooms import FAIL, PASS, Rooms
from tests.local.failuremodes.given import BRIEF, SIDECAR, add_case, phase

SOON_KILLED = {"terminationGracePeriodSeconds": 2}
"""Shells do not end at SIGTERM as process 1; by default the kubelet would wait for 30 s."""


def test_no_pod_is_left_after_its_deadline_though_no_collector_lives(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "BACKSTOP_S", 10)  # the image is there, so that the probe starts within it
    add_case(rooms, "brief", pod=SOON_KILLED, timeouts=BRIEF)
    run_id = rooms.start("trap '' TERM; sleep 600", "brief")
    until("the kubelet to end the pod", lambda: phase(rooms, run_id) == ("Failed", "DeadlineExceeded"), within_s=90)
    [expired] = expire(rooms.store, rooms.run(run_id).expires_at).with_pods
    remove_pods(rooms.launcher, "local", [expired.id])
    rooms.wait_until_no_pod_is_left()
    assert rooms.outcome(run_id).reason == Reason.LOST


def test_a_collector_that_comes_after_the_kubelet_ended_a_pod_says_so(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "BACKSTOP_S", 10)
    add_case(rooms, "brief", pod=SOON_KILLED, timeouts=BRIEF)
    run_id = rooms.start("sleep 600", "brief")
    until("the kubelet to end the pod", lambda: phase(rooms, run_id)[0] == "Failed", within_s=90)
    rooms.collect()
    outcome = rooms.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.RUN_DEADLINE), outcome.message
    rooms.wait_until_no_pod_is_left()


def test_a_sidecar_that_never_ends_has_no_say(rooms: Rooms) -> None:
    add_case(rooms, "with-sidecar", pod={"containers": [SIDECAR]})
    rooms.collect()
    passed, failed = rooms.start(PASS, "with-sidecar"), rooms.start(FAIL, "with-sidecar")
    assert rooms.outcome(passed).verdict == Verdict.PASS
    assert rooms.outcome(failed).verdict == Verdict.FAIL
    rooms.wait_until_no_pod_is_left()
