"""`kubeprobe plan`, `apply`, `pause`, `resume` and `schema`."""

import json

from sqlmodel import select

from kubeprobe.store import Schedule, Store
from tests.services.cli.conftest import CATALOG, CommandLine


def test_plan_shows_changes_and_makes_none(kubeprobe: CommandLine) -> None:
    kubeprobe.add_cluster("prod-1", "region=eu")
    file = kubeprobe.write("catalog/all.yaml", CATALOG)
    output = kubeprobe("plan", "-f", file).stdout
    assert "+ Binding/core" in output
    assert "every 5m" in output
    assert "Plan: 3 added. Nothing was changed." in output
    assert kubeprobe.json("plan", "-f", file)["runsPerHour"] == [{"cluster": "prod-1", "before": 0.0, "after": 12.0}]
    assert "3 added" in kubeprobe("plan", "-f", file).stdout


def test_apply_creates_schedules_and_is_idempotent(ready: CommandLine, store: Store) -> None:
    with store.reading() as session:
        schedules = session.exec(select(Schedule.case, Schedule.cluster)).all()
    assert [tuple(row) for row in schedules] == [("dns", "prod-1")]
    assert "Nothing to change." in ready.apply().stdout


def test_all_problems_are_reported_at_once_with_file_and_line(kubeprobe: CommandLine) -> None:
    broken = CATALOG.replace("cases: [dns]", "cases: [dsn]").replace("every: 5m", "every: 5 minutes")
    file = kubeprobe.write("catalog/all.yaml", broken)
    output = kubeprobe("apply", "-f", file, code=2).stderr
    assert f"{file}:16" in output
    assert "did you mean 'dns'" in output
    assert "5 minutes" in output
    assert "2 problems; nothing was changed." in output
    problems = kubeprobe.json("plan", "-f", file, code=2)["problems"]
    assert {problem["path"] for problem in problems} == {"spec.cases[0]", "spec.on.periodic.every"}


def test_prune_removes_undeclared_entries(ready: CommandLine) -> None:
    less = "---".join(CATALOG.split("---")[:2])
    assert "(--prune removes it): Binding/core" in ready.apply(less).stdout
    output = ready("apply", "--prune", "-f", ready.write("catalog/all.yaml", less)).stdout
    assert "- Binding/core" in output
    assert "1 removed" in output


def test_a_paused_binding_opens_no_runs_until_it_is_resumed(ready: CommandLine, store: Store) -> None:
    def paused() -> list[bool]:
        with store.reading() as session:
            return [row is not None for row in session.exec(select(Schedule.paused_at)).all()]

    assert "1 schedule stopped" in ready("pause", "core").stdout
    assert paused() == [True]
    assert "1 schedule" in ready("resume", "core").stdout
    assert paused() == [False]
    assert "Did you mean 'core'?" in ready("pause", "cores", code=2).stderr


def test_the_schema_is_json(kubeprobe: CommandLine) -> None:
    assert "$schema" in json.loads(kubeprobe("schema").stdout)


def test_a_folder_without_yaml_is_named(kubeprobe: CommandLine) -> None:
    (kubeprobe.folder / "empty").mkdir()
    assert "empty" in kubeprobe("plan", "-f", str(kubeprobe.folder / "empty"), code=2).stderr
