"""The selection of faults for the real tier."""

from dataclasses import replace
from pathlib import Path

from benchmarks.detection.seen import RecordedRun, RecordedRuns, declarations_of, statements_of
from tests.probes.scenario import SCENARIOS
from tests.probes.selected_faults import SELECTED_FAULTS, is_unrecorded, selected_faults


def test_every_probe_has_two_or_three_selected_faults_of_its_scenario() -> None:
    assert SELECTED_FAULTS.keys() == {scenario.folder for scenario in SCENARIOS}
    for scenario in SCENARIOS:
        assert set(SELECTED_FAULTS[scenario.folder]) <= {fault.name for fault in scenario.faults}, scenario.folder
        assert 2 <= len(SELECTED_FAULTS[scenario.folder]) <= 3, scenario.folder


def test_every_selected_fault_is_run() -> None:
    selected = {(scenario.folder, fault.name) for scenario, fault in selected_faults()}
    assert selected >= {(folder, name) for folder, names in SELECTED_FAULTS.items() for name in names}


def test_a_fault_is_unrecorded_until_the_current_probe_was_run_with_it(tmp_path: Path) -> None:
    scenario = SCENARIOS[0]
    fault, other = scenario.faults[:2]
    recorded = RecordedRuns(tmp_path / "runs.jsonl")
    assert is_unrecorded(recorded, scenario, fault)
    run = RecordedRun.of(f"{scenario.folder}/{fault.name}", scenario.folder, None, named=True)
    recorded.add(replace(run, version="of other code"))
    assert is_unrecorded(recorded, scenario, fault)
    recorded.add(run)
    assert not is_unrecorded(recorded, scenario, fault)
    assert is_unrecorded(recorded, scenario, other)


def test_comments_docstrings_and_line_breaks_do_not_change_the_hash() -> None:
    code = "def f(x):\n    return (x + 1)\n"
    commented = 'def f(x):\n    """Adds ü."""  # ü, one\n    return (x\n      + 1)\n'
    assert statements_of(f'"""What it is."""\n# Why.\n{code}') == statements_of(code)
    assert statements_of(commented) == statements_of(code)
    assert statements_of(code.replace("1", "2")) != statements_of(code)


def test_comments_and_descriptions_of_a_catalog_do_not_change_the_hash() -> None:
    catalog = "kind: ProbeCase\nspec:\n  description: Creates a pod\n  severity: critical\n"
    assert declarations_of(f"# Why.\n{catalog}") == declarations_of(catalog)
    assert declarations_of(catalog.replace("Creates", "Deletes")) == declarations_of(catalog)
    assert declarations_of(catalog.replace("critical", "info")) != declarations_of(catalog)
