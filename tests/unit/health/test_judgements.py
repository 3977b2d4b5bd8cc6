"""Findings that follow from the facts about an installation."""

from dataclasses import replace
from datetime import datetime, timedelta

from kubeprobe.health.facts import FleetHealth, LeftoverHealth, RunHealth, SourceHealth
from kubeprobe.health.judgements import (
    judge_beat,
    judge_clock,
    judge_fleet,
    judge_leftovers,
    judge_outcomes,
    judge_queues,
    judge_sources,
    judge_workers,
)
from kubeprobe.queue import MANY_WAITING

WELL = RunHealth(
    schedules=10,
    overdue_schedules=0,
    unsent={},
    waiting={},
    overdue=0,
    own_faults={},
    unprocessed=0,
    undelivered=(),
)
FLEET = FleetHealth(pools={"eu": 2}, collectors={"eu": 1}, unwatched={}, unreachable=(), unbound=(), cordoned=())
SERVED = {"launch.eu": 2, "request": 2, "response": 1, "delivery": 1, "housekeeping": 1}


def problems(findings: object) -> dict[str, tuple[str, str]]:
    return {finding.check: (finding.found, finding.remedy) for finding in findings if not finding.ok}


def test_a_healthy_installation_has_no_problem(now: datetime) -> None:
    findings = [judge_beat(WELL, {}), judge_clock(now, now, {}), *judge_workers(SERVED, FLEET)]
    findings += [*judge_fleet(FLEET), *judge_outcomes(WELL)]
    assert problems(findings) == {}


def test_overdue_schedules_mean_that_beat_is_not_running() -> None:
    found, remedy = problems([judge_beat(replace(WELL, overdue_schedules=3), {})])["beat"]
    assert "3 schedules" in found
    assert "SlotScheduler" in remedy


def test_runs_that_are_not_resent_mean_that_beat_is_not_running() -> None:
    assert "1 run not" in problems([judge_beat(replace(WELL, schedules=0, unsent={"eu": 1}), {})])["beat"][0]


def test_without_schedules_the_state_of_beat_is_not_judged() -> None:
    assert "nothing to do" in judge_beat(replace(WELL, schedules=0), {}).found


def test_a_queue_without_workers_is_named_with_a_command() -> None:
    found = problems(judge_workers({"launch.eu": 1, "request": 1, "response": 1}, FLEET))
    assert list(found) == ["responders"]
    assert "housekeeping" in found["responders"][0]
    assert "-Q response,delivery,housekeeping" in found["responders"][1]


def test_runs_that_beat_cannot_send_are_not_its_fault() -> None:
    late = replace(WELL, unsent={"eu": 1})
    assert judge_beat(late, None).ok
    assert judge_beat(late, {"launch.eu": MANY_WAITING}).ok
    for other in ("launch.us", "delivery"):
        assert not judge_beat(late, {"launch.eu": 3, other: MANY_WAITING}).ok, "it sends to pools with short queues"
    both = replace(WELL, unsent={"eu": 2, "us": 3})
    assert "3 runs not" in problems([judge_beat(both, {"launch.eu": MANY_WAITING})])["beat"][0]


def test_a_long_queue_is_named_with_a_command() -> None:
    found, remedy = problems([judge_queues({"launch.eu": 1200, "launch.us": 3, "response": 10})])["queues"]
    assert found == "1,200 messages wait in launch.eu"
    assert "-Q launch.eu" in remedy
    assert judge_queues({"launch.eu": MANY_WAITING - 1}).ok


def test_each_pool_needs_its_own_launchers() -> None:
    fleet = replace(FLEET, pools={"eu": 1, "us": 1})
    assert list(problems(judge_workers(SERVED, fleet))) == ["launchers us"]


def test_unwatched_clusters_are_named() -> None:
    alone = replace(FLEET, collectors={}, unwatched={"eu": ("a", "b")})
    assert "KUBEPROBE_POOL=eu" in problems(judge_fleet(alone))["collectors eu"][1]
    some = replace(FLEET, unwatched={"eu": tuple("abcdefg")})
    assert "a, b, c, d, e and 2 more" in problems(judge_fleet(some))["collectors eu"][0]


def test_unreachable_and_unbound_clusters_are_problems_cordoned_ones_are_not() -> None:
    found = problems(judge_fleet(replace(FLEET, unreachable=("a",), unbound=("b",), cordoned=("c",))))
    assert set(found) == {"reachability", "bindings"}
    assert found["reachability"][1] == "kubeprobe cluster check a"


def test_recent_faults_name_the_process_to_check() -> None:
    found = problems(judge_outcomes(replace(WELL, own_faults={"Lost": 1, "Missed": 4})))["last hour"]
    assert "1 Lost, 4 Missed" in found[0]
    assert "beat" in found[1]


def test_waiting_and_overdue_runs_and_undelivered_messages_are_problems() -> None:
    bad = replace(WELL, waiting={"eu": 2}, overdue=1, unprocessed=5, undelivered=("ops/mail: refused",))
    assert set(problems(judge_outcomes(bad))) == {"launching", "deadlines", "alerting", "notifications"}


def test_clocks_that_differ_are_a_problem(now: datetime) -> None:
    minute = timedelta(minutes=1)
    found, remedy = problems([judge_clock(now, now - minute, {"beat on host-1 (pid 7)": 2 * minute})])["clock"]
    assert found == "this machine is 60 s behind, beat on host-1 (pid 7) is 120 s ahead of the database server"
    assert "NTP" in remedy
    assert problems([judge_clock(None, now, {})]) == {}


def test_the_fix_of_a_source_depends_on_whether_its_commit_is_wrong(now: datetime) -> None:
    source = SourceHealth(
        "team", is_paused=False, error="no", is_refused=True, next_sync=now, applied_commit=None, drifted=0
    )
    assert "in the repository" in problems(judge_sources([source], now))["source team"][1]
    unreachable = replace(source, is_refused=False)
    assert "credentials" in problems(judge_sources([unreachable], now))["source team"][1]


def test_stuck_objects_are_named_beside_missing_permissions() -> None:
    found = LeftoverHealth(
        removed={}, stuck=("namespaces x on prod-2: a finalizer",), not_allowed={"prod-1": "delete pods"}
    )
    [(shown, _)] = problems([judge_leftovers(found)]).values()
    assert "may not delete pods" in shown
    assert "namespaces x on prod-2" in shown


def test_what_a_collector_cannot_do_is_shown_with_its_cluster() -> None:
    troubled = replace(FLEET, troubles={"prod-2": "1 pods set aside: kp-x", "prod-1": "1 pods not deleted: kp-y"})
    found, remedy = problems(judge_fleet(troubled))["watching"]
    assert found == "prod-1 (and 1 other cluster): 1 pods not deleted: kp-y"
    assert "kubeprobe cluster check prod-1" in remedy
