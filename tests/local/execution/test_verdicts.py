"""From a real process to its outcome: launcher, local cluster, collector."""

import pytest

from kubeprobe.store import RunLog, Store
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.local.execution.conftest import MakeRooms
from tests.local.execution.rooms import FAIL, GIVE_UP, PASS, LocalThread, Rooms


@pytest.mark.parametrize(
    ("script", "case", "verdict", "reason"),
    [
        (PASS, "shell", Verdict.PASS, Reason.PASSED),
        (FAIL, "shell", Verdict.FAIL, Reason.REPORTED_FAILURE),
        (GIVE_UP, "shell", Verdict.UNKNOWN, Reason.PROBE_GAVE_UP),
        ("exit 0", "shell", Verdict.UNKNOWN, Reason.REPORT_MISSING),
        ("kill -9 $$", "shell", Verdict.UNKNOWN, Reason.REPORT_MISSING),
        ("echo nonsense > $KUBEPROBE_REPORT_FILE", "shell", Verdict.UNKNOWN, Reason.REPORT_GARBLED),
        ("tail /dev/zero", "small", Verdict.UNKNOWN, Reason.OOM_KILLED),
        ("sleep 60", "impatient", Verdict.UNKNOWN, Reason.RUN_DEADLINE),
        (PASS, "no-image", Verdict.UNKNOWN, Reason.IMAGE_NOT_PULLED),
        (PASS, "throttled", Verdict.UNKNOWN, Reason.IMAGE_NOT_PULLED),
    ],
)
def test_what_a_probe_does_becomes_its_outcome_and_its_pod_is_removed(
    rooms: Rooms, script: str, case: str, verdict: Verdict, reason: Reason
) -> None:
    rooms.collect()
    run_id = rooms.start(script, case)
    outcome = rooms.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (verdict, reason), outcome.message
    assert rooms.run(run_id).state == RunState.DONE
    rooms.wait_until_no_pod_is_left()
    assert rooms.queue.responders_woken >= 1


def test_a_pod_is_deleted_only_after_its_outcome_is_committed(rooms: Rooms) -> None:
    run_id = rooms.start(FAIL)
    rooms.wait_until_ended(run_id)
    assert [pod["metadata"]["uid"] for pod in rooms.pods()] == [rooms.run(run_id).pod_uid]
    rooms.collect()
    rooms.wait_until_no_pod_is_left()
    assert rooms.verdicts() == {run_id: Reason.REPORTED_FAILURE}


def test_the_log_of_what_did_not_pass_is_kept(rooms: Rooms) -> None:
    rooms.collect()
    passed, failed = rooms.start("echo fine; " + PASS), rooms.start(FAIL)
    assert rooms.log(failed) == "the log of a failure\n"
    rooms.outcome(passed)
    rooms.wait_until_no_pod_is_left()
    assert rooms.find(RunLog, passed) is None


def test_a_log_that_the_store_cannot_hold_as_it_is_keeps_no_pod(
    store: Store, local: LocalThread, make_rooms: MakeRooms
) -> None:
    rooms = make_rooms(store, local)
    rooms.collect()
    run_id = rooms.start(r"printf 'a\000b\377c\n'; " + FAIL)
    assert rooms.log(run_id).startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\n")
    rooms.wait_until_no_pod_is_left()


@pytest.mark.parametrize("grace_s", [0, 1])
def test_a_pod_that_somebody_deletes_while_it_runs_is_unknown(rooms: Rooms, grace_s: int) -> None:
    rooms.collect()
    run_id = rooms.start("sleep 60")
    rooms.delete(rooms.wait_until_running(run_id), grace_s)
    outcome = rooms.outcome(run_id)
    assert (outcome.verdict, outcome.reason) == (Verdict.UNKNOWN, Reason.POD_DELETED)
    rooms.wait_until_no_pod_is_left()
