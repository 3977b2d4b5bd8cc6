"""The tables of docs/detection.md: detected faults, the matrix of faults and probes, and false alarms."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.detection.seen import HEALTHY, RecordedRun, RecordedRuns
from benchmarks.report import Table
from tests.probes.catalog import case_of
from tests.probes.component_faults import nothing_broken
from tests.probes.scenario import Fault, Scenario


def tables(scenarios: Sequence[Scenario], seen: RecordedRuns) -> list[Table]:
    """Detected faults with times, then the whole matrix, then the healthy runs."""
    return [_found(scenarios, seen), _matrix(scenarios, seen), _false_alarms(scenarios, seen)]


def _found(scenarios: Sequence[Scenario], seen: RecordedRuns) -> Table:
    table = Table(
        "Faults and the probes that detect them", ["fault", "its probe", "named", "s", "also fail", "unknown"]
    )
    for scenario, fault in _faults(scenarios):
        key = f"{scenario.folder}/{fault.name}"
        own = next(iter(seen.of(key, scenario.folder)), None)
        others = [run for run in seen.with_fault(key) if run.probe != scenario.folder]
        table.add(
            fault.name,
            case_of(scenario.folder),
            _is_named(own),
            own.seconds if own else "-",
            _cases(fault, others, "fail"),
            _cases(fault, others, "unknown"),
        )
    table.notes.append(
        "named: its own probe fails and names the cause. s: seconds from the start of its run to the verdict."
    )
    table.notes.append("n/a: the fault is in the parameters of its own probe only, so no other probe can detect it.")
    table.notes.append(
        "{} of {} runs are of an outdated version of a probe or a fault. A change of names only keeps a version: the "
        "recorded one is recomputed.".format(*seen.outdated())
    )
    return table


def _is_named(own: RecordedRun | None) -> str:
    if own is None:
        return "not tried"
    return "yes" if own.named else f"no: {own.verdict}"


def _cases(fault: Fault, runs: Sequence[RecordedRun], verdict: str) -> str:
    if fault.inject is nothing_broken:
        return "n/a"
    if not runs:
        return "not tried"
    return ", ".join(case_of(run.probe) for run in runs if run.verdict == verdict) or "-"


def _matrix(scenarios: Sequence[Scenario], seen: RecordedRuns) -> Table:
    table = Table("Every fault against every probe", ["fault", *(case_of(one.folder) for one in scenarios)])
    signs = {"fail": "F", "unknown": "?", "pass": ".", "none": "-"}
    for scenario, fault in _faults(scenarios):
        key = f"{scenario.folder}/{fault.name}"
        cells = [next(iter(seen.of(key, one.folder)), None) for one in scenarios]
        if sum(cell is not None for cell in cells) > 1:
            table.add(fault.name, *(signs[cell.verdict] if cell else " " for cell in cells))
    table.notes.append(
        "F fails, ? unknown, . passes, - cannot run, blank: not tried. Faults that are not in this table"
    )
    table.notes.append("were tried with their own probe only, or cannot be detected by another probe.")
    return table


def _false_alarms(scenarios: Sequence[Scenario], seen: RecordedRuns) -> Table:
    table = Table("Runs on the healthy cluster", ["probe", "runs", "pass", "fail", "unknown", "median s"])
    total: Counter[str] = Counter()
    for scenario in scenarios:
        runs = seen.of(HEALTHY, scenario.folder)
        counts = Counter(run.verdict for run in runs)
        total.update(counts)
        table.add(
            case_of(scenario.folder),
            len(runs),
            counts["pass"],
            counts["fail"],
            counts["unknown"] + counts["none"],
            seen.usual_seconds(scenario.folder),
        )
    table.add("all", total.total(), total["pass"], total["fail"], total["unknown"] + total["none"], "")
    return table


def _faults(scenarios: Sequence[Scenario]) -> list[tuple[Scenario, Fault]]:
    return [(scenario, fault) for scenario in scenarios for fault in scenario.faults]
