"""Failure modes 2, 11 and 17: pods that outlive their deadline, their log or their probe."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubeprobe.catalog import render
from kubeprobe.execution.collect.watch import LOGS_AT_A_TIME
from kubeprobe.execution.remove import remove_pods
from kubeprobe.localcluster.kubelet.kubelet import Kubelet
from kubeprobe.runs import expire
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.rooms import FAIL, PASS, Rooms
from tests.local.failuremodes.given import BRIEF, SIDECAR, add_case, phase


def test_no_pod_is_left_after_its_deadline_though_no_collector_lives(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failure mode 2: the kubelet ends the probe, beat the run, and a launcher removes the pod."""
    monkeypatch.setattr(render, "BACKSTOP_S", 0)
    add_case(rooms, "brief", timeouts=BRIEF)
    run_id = rooms.start("sleep 600", "brief")
    until("the kubelet to end the pod", lambda: phase(rooms, run_id) == ("Failed", "DeadlineExceeded"))
    expired = expire(rooms.store, rooms.run(run_id).expires_at)
    assert [run.id for run in expired.with_pods] == [run_id]
    assert (rooms.outcome(run_id).verdict, rooms.outcome(run_id).reason) == (Verdict.UNKNOWN, Reason.LOST)
    remove_pods(rooms.launcher, "local", [run_id])
    rooms.wait_until_no_pod_is_left()


def test_logs_that_hang_hold_up_neither_verdicts_nor_the_deletion_of_other_pods(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failure mode 11: more logs hang than are read at a time."""
    asked: list[Any] = []
    never = asyncio.Event()

    async def hang(*args: Any) -> AsyncIterator[bytes]:
        asked.append(args)
        await never.wait()
        yield b""

    monkeypatch.setattr("kubeprobe.execution.logs.READ_WITHIN_S", 1000.0)
    monkeypatch.setattr("kubeprobe.fleet.transport.REQUEST_TIMEOUT_S", 1000.0)
    monkeypatch.setattr(Kubelet, "read_log", hang)
    rooms.collect()
    failed = [rooms.start(FAIL) for _ in range(LOGS_AT_A_TIME + 2)]
    assert {rooms.outcome(run_id).verdict for run_id in failed} == {Verdict.FAIL}
    until("logs that hang", lambda: len(asked) >= LOGS_AT_A_TIME)
    passed = rooms.start(PASS)
    assert rooms.outcome(passed).verdict == Verdict.PASS
    until("the pod that passed to be deleted", lambda: phase(rooms, passed) == ("", ""))
    assert len(rooms.pods()) == len(failed), "their logs are still being read"


def test_a_sidecar_that_never_ends_has_no_say(rooms: Rooms) -> None:
    """Failure mode 17."""
    add_case(rooms, "with-sidecar", pod={"containers": [SIDECAR]})
    rooms.collect()
    passed, failed = rooms.start(PASS, "with-sidecar"), rooms.start(FAIL, "with-sidecar")
    assert rooms.outcome(passed).verdict == Verdict.PASS
    assert rooms.outcome(failed).verdict == Verdict.FAIL
    rooms.wait_until_no_pod_is_left()
