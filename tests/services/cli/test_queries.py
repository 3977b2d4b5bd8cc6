"""`kubeprobe status`, `runs`, `show` and `logs`."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from kubeprobe import shell
from kubeprobe.app import installation, logs
from kubeprobe.cli import app
from kubeprobe.cli.run_list import new_outcomes
from kubeprobe.clock import utc_now
from kubeprobe.store import Run, RunLog, Store
from kubeprobe.views import RunFilter
from kubeprobe.vocabulary import Verdict
from tests.services.cli.conftest import CommandLine
from tests.services.views.given import World


@pytest.fixture
def world(store: Store) -> World:
    """The store of the command line, to be filled; its time is the real time."""
    return World(store, utc_now())


def test_runs_are_listed_newest_first_with_their_reasons(ready: CommandLine, world: World) -> None:
    world.run(Verdict.PASS, at=world.now - timedelta(minutes=1))
    failed = world.run(Verdict.FAIL)
    head, first, second = ready("runs").stdout.splitlines()
    assert head.split() == ["TIME", "(UTC)", "VERDICT", "CASE", "CLUSTER", "TRIGGER", "TOOK", "RUN", "REASON"]
    assert failed in first
    assert first.endswith("ReportedFailure: no answer from coredns")
    assert "pass" in second


def test_columns_are_aligned_and_lines_have_no_trailing_blanks(ready: CommandLine, world: World) -> None:
    world.run(case="dns")
    world.run(case="a-much-longer-name")
    lines = ready("runs").stdout.splitlines()
    assert len({line.index(word) for line, word in zip(lines, ("CLUSTER", "prod-1", "prod-1"), strict=True)}) == 1
    assert all(line == line.rstrip() for line in lines)


def test_output_has_no_colour_without_a_terminal(ready: CommandLine, world: World) -> None:
    run_id = world.run(Verdict.FAIL)
    for command in (("runs",), ("show", run_id), ("status",), ("cluster", "list"), ("show", "0000")):
        result = CliRunner().invoke(app, list(command))
        assert "\x1b" not in result.output


def test_json_of_runs_is_stable(ready: CommandLine, world: World) -> None:
    world.run(Verdict.PASS)
    (run,) = ready.json("runs", "--case", "dns")
    assert list(run) == [
        "id", "case", "cluster", "node", "nodeLevel", "trigger", "binding", "changeId", "caseCommit", "state",
        "attempt", "held", "setback", "dueAt", "openedAt", "verdict", "reason", "message", "missed", "report",
        "startedAt", "finishedAt", "storedAt", "subject", "ranFor", "errors",
    ]  # fmt: skip
    assert ready.json("runs", "--case", "none-such") == []


def test_show_prints_verdict_trigger_owner_and_stages(ready: CommandLine, world: World) -> None:
    run_id = world.run(Verdict.FAIL, binding="core")
    output = ready("show", run_id).stdout
    for part in ("fail", "dns on prod-1", "no answer from coredns", "due by binding core", "network", "finished"):
        assert part in output
    found = ready.json("show", run_id[:-1])
    assert found["id"] == run_id
    assert [stage["name"] for stage in found["stages"]] == ["due", "opened", "started", "finished", "stored"]


def test_a_stored_log_is_printed_verbatim(ready: CommandLine, world: World) -> None:
    run_id = world.run(Verdict.FAIL)
    with world.store.writing() as session:
        session.add(RunLog(run_id=run_id, tail="[1/2] step\n[red]not markup[/red]", stored_at=world.now))
    assert ready("logs", run_id).stdout == "[1/2] step\n[red]not markup[/red]\n"


def test_logs_explains_why_a_run_has_no_log(ready: CommandLine, world: World) -> None:
    assert "it passed" in ready("logs", world.run(Verdict.PASS), code=2).stderr
    assert "never had a pod (ImageNotPulled" in ready("logs", world.run(Verdict.UNKNOWN), code=2).stderr
    assert "waits for a launcher" in ready("logs", world.opened(), code=2).stderr


def test_status_is_a_table_of_cases_and_clusters(ready: CommandLine, world: World) -> None:
    world.standing("dns", "prod-1", Verdict.FAIL)
    world.standing("dns", "prod-2", Verdict.PASS)
    head, row, *rest = ready("status").stdout.splitlines()
    assert head.split() == ["CASE", "prod-1", "prod-2"]
    assert row.split() == ["dns", "✗", "✓"]
    assert "✓ 1 pass   ✗ 1 fail" in "\n".join(rest)
    assert {cell["cluster"]: cell["shown"] for cell in ready.json("status")["cells"]} == {
        "prod-1": "fail",
        "prod-2": "pass",
    }


def test_status_of_many_clusters_lists_only_some_names(ready: CommandLine, world: World) -> None:
    for number in range(20):
        world.cluster(f"c{number:02}")
        world.standing("dns", f"c{number:02}", Verdict.FAIL if number < 6 else Verdict.PASS)
    output = ready("status").stdout
    assert "c00, c01, c02, c03 and 2 more" in output


def test_an_empty_installation_suggests_the_next_command(kubeprobe: CommandLine) -> None:
    assert "kubeprobe cluster add" in kubeprobe("cluster", "list").stderr
    assert "kubeprobe run" in kubeprobe("runs").stderr
    assert kubeprobe.json("runs") == kubeprobe.json("cluster", "list") == []


def test_following_prints_each_outcome_once(ready: CommandLine, world: World) -> None:
    early = world.run()
    late = world.opened()
    installation = replace(shell.installation(), clock=lambda: world.now)
    found: Iterator[list[str]] = (
        [run.id for run in group] for group in new_outcomes(installation, RunFilter(), {early}, sleep=lambda _: None)
    )
    assert next(found) == []
    world.ended(late)
    # Committed later than `late`, and yet older by its own time.
    slow = world.run(at=world.now - timedelta(seconds=3))
    assert sorted(next(found)) == sorted([late, slow])
    assert next(found) == []


def test_following_begins_after_what_was_stored_already(ready: CommandLine, world: World) -> None:
    shown, beyond_the_limit = world.run(), world.run(at=world.now - timedelta(seconds=2))
    installation = replace(shell.installation(), clock=lambda: world.now)
    groups = new_outcomes(installation, RunFilter(), {shown}, sleep=lambda _: None)
    assert beyond_the_limit not in {run.id for run in next(groups)}
    later = world.run()
    assert [run.id for run in next(groups)] == [later]


def test_logs_waits_until_the_collector_has_stored_the_log(
    ready: CommandLine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = world.opened()
    with world.store.writing() as session:
        session.get_one(Run, run_id).pod = "its-pod"
    world.ended(run_id, Verdict.FAIL, utc_now() + timedelta(minutes=1))  # a log may follow within 6 s

    def keep(_pause_s: float) -> None:
        with world.store.writing() as session:
            session.add(RunLog(run_id=run_id, tail="last words\n", stored_at=world.now))

    monkeypatch.setattr(logs, "time", SimpleNamespace(sleep=keep))
    assert ready("logs", run_id).stdout == "last words\n"


def test_logs_follow_prints_the_stored_log_when_the_run_ends(ready: CommandLine, world: World) -> None:
    run_id = world.opened()
    with world.store.writing() as session:
        session.get_one(Run, run_id).pod = "its-pod"

    def end() -> None:
        world.ended(run_id, Verdict.FAIL, utc_now() + timedelta(minutes=1))  # a log may follow within 6 s
        with world.store.writing() as session:
            session.add(RunLog(run_id=run_id, tail="last words\n", stored_at=world.now))

    timer = threading.Timer(0.3, end)
    timer.start()
    with world.store.writing() as session:
        session.add(RunLog(run_id=world.run(), tail="", stored_at=world.now))
    assert "last words" in ready("logs", run_id, "--follow").stdout
    timer.join()


def test_ages_are_by_the_clock_of_the_installation(
    ready: CommandLine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here this machine is a day behind it."""
    run = world.run(Verdict.PASS)
    assert [found["id"] for found in ready.json("runs", "--since", "1h")] == [run]
    monkeypatch.setattr(installation, "StoreClock", lambda *_: lambda: utc_now() + timedelta(days=1))
    assert ready.json("runs", "--since", "1h") == []
    assert [found["id"] for found in ready.json("runs", "--since", "25h")] == [run]
