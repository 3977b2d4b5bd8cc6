"""The matrix of faults and probes, and the false alarms, as tables for people."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.detection.seen import HEALTHY, RecordedRun, RecordedRuns
from benchmarks.report import Table
from tests.probes.breaking import nothing_broken
from tests.probes.catalog import case_of
from tests.probes.scenario import Fault, Scenario


def tables(scenarios: Sequence[Scenario], seen: RecordedRuns) -> list[Table]:
    """Who finds what and how fast, then the whole matrix, then the healthy runs."""
    return [_found(scenarios, seen), _matrix(scenarios, seen), _false_alarms(scenarios, seen)]


def _found(scenarios: Sequence[Scenario], seen: RecordedRuns) -> Table:
    table = Table("Faults and who finds them", ["fault", "its probe", "named", "s", "also fail", "unknown"])
    for scenario, fault in _faults(scenarios):
        key = f"{scenario.folder}/{fault.name}"
        own = next(iter(seen.of(key, scenario.folder)), None)
        others = [run for run in seen.under(key) if run.probe != scenario.folder]
        table.add(
            fault.name,
            case_of(scenario.folder),
            _is_named(own),
            own.seconds if own else "-",
            _cases(fault, others, "fail"),
            _cases(fault, others, "unknown"),
        )
    table.notes.append("named: its own probe fails and says why. s: from the start of its run until the verdict.")
    table.notes.append("n/a: what is wrong is what this probe is told to look at, and there for nobody else.")
    table.notes.append("{} of all {} runs are of a probe or a fault that has changed since.".format(*seen.outdated()))
    return table


def _is_named(own: RecordedRun | None) -> str:
    if own is None:
        return "not tried"
    return "yes" if own.named else f"no: {own.verdict}"


def _cases(fault: Fault, runs: Sequence[RecordedRun], verdict: str) -> str:
    if fault.breaks is nothing_broken:
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
    table.notes.append("F fails, ? unknown, . passes, - cannot be run then, blank: not tried. Faults that are not in")
    table.notes.append("this table were tried with their own probe only, or break nothing that another could see.")
    return table


def _false_alarms(scenarios: Sequence[Scenario], seen: RecordedRuns) -> Table:
    table = Table("Runs while nothing was broken", ["probe", "runs", "pass", "fail", "unknown", "median s"])
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
