"""The fleet as text: cases x clusters where they fit, a line for each case where there are many, alerts below."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.text import Text

from kubeprobe.cli.output import Columns, ago, console, one_line, remark, styled
from kubeprobe.views import AlertView, Cell, FleetStatus, NodeCell, Shown

WIDE = 12
"""More clusters than this are summed up for each case."""
NAMED = 4
SYMBOLS = {
    Shown.PASS: ("✓", "green"),
    Shown.FAIL: ("✗", "bold red"),
    Shown.UNKNOWN: ("?", "yellow"),
    Shown.STALE: ("…", "yellow"),
    Shown.NEVER: ("·", "dim"),
    Shown.CORDONED: ("-", "dim"),
}
MEANINGS = {
    Shown.PASS: "pass",
    Shown.FAIL: "fail",
    Shown.UNKNOWN: "unknown",
    Shown.STALE: "overdue",
    Shown.NEVER: "no outcome yet",
    Shown.CORDONED: "cordoned",
}


def print_fleet(fleet: FleetStatus, now: datetime) -> None:
    """The table, its totals, and what is wrong."""
    out = console()
    if not fleet.cells:
        out.print("No case is due anywhere, and none has run." if fleet.clusters else "No clusters match.")
        return
    if len(fleet.clusters) > WIDE:
        _print_by_case(fleet)
    else:
        _print_table(fleet)
    out.print(_summary(fleet))
    if fleet.counts[Shown.STALE]:
        out.print("Runs are overdue: `kubeprobe doctor` shows why.", style="yellow")
    if fleet.unprocessed:
        out.print(f"{fleet.unprocessed} newer outcomes wait for a responder: `kubeprobe doctor`.", style="yellow")
    _print_alerts(fleet, now)


def _print_table(fleet: FleetStatus) -> None:
    cells = {(cell.case, cell.cluster): cell for cell in fleet.cells}
    cases = sorted({cell.case for cell in fleet.cells})
    names = [cluster.name for cluster in fleet.clusters]
    Columns("CASE", *names).print(
        [case, *(_symbol(cells.get((case, name)), len(name)) for name in names)] for case in cases
    )


def _symbol(cell: Cell | None, width: int) -> Text:
    symbol, style = SYMBOLS[cell.shown] if cell else (" ", "")
    text = f"{symbol} {nodes_text(cell)}".rstrip() if cell else symbol
    return Text(" " * (max(0, width - len(text)) // 2) + text, style)


def nodes_text(cell: Cell) -> str:
    """`2/40`: two of forty nodes have the verdict that the cell shows. Empty where there are no verdicts of nodes."""
    if cell.nodes is None:
        return ""
    return f"{cell.nodes.get(cell.shown, 0)}/{sum(cell.nodes.values())}"


def _print_by_case(fleet: FleetStatus) -> None:
    by_case: dict[str, list[Cell]] = defaultdict(list)
    for cell in fleet.cells:
        by_case[cell.case].append(cell)
    shown = [kind for kind in Shown if fleet.counts[kind]]
    Columns("CASE", *(MEANINGS[kind].upper() for kind in shown), "WHERE IT FAILS").print(
        [case, *_counts(cells, shown), _where(cells)] for case, cells in sorted(by_case.items())
    )


def _counts(cells: Sequence[Cell], shown: Sequence[Shown]) -> list[Text]:
    found = Counter(cell.shown for cell in cells)
    return [Text(str(found[kind]), SYMBOLS[kind][1] if found[kind] else "dim") for kind in shown]


def _where(cells: Sequence[Cell]) -> str:
    failing = [
        f"{cell.cluster} ({nodes} nodes)" if (nodes := nodes_text(cell)) else cell.cluster
        for cell in cells
        if cell.shown is Shown.FAIL
    ]
    more = f" and {len(failing) - NAMED} more" if len(failing) > NAMED else ""
    return ", ".join(failing[:NAMED]) + more


def _summary(fleet: FleetStatus) -> Text:
    line = Text("\n")
    for kind, count in fleet.counts.items():
        if count:
            symbol, style = SYMBOLS[kind]
            line.append(f"{symbol} {count} {MEANINGS[kind]}", style).append("   ")
    cases = len({cell.case for cell in fleet.cells})
    return line.append(f"{_count(cases, 'case')} on {_count(len(fleet.clusters), 'cluster')}", "dim")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _print_alerts(fleet: FleetStatus, now: datetime) -> None:
    if not fleet.alerts:
        return
    shown = len(fleet.alerts)
    part = f" (the newest {shown} of {fleet.open_alerts})" if shown < fleet.open_alerts else ""
    console().print(f"\nOpen alerts{part}", style="bold")
    Columns("KIND", "SEVERITY", "CASE", "CLUSTER", "SINCE", "LAST RUN", "REASON").print(
        (
            styled(alert.kind),
            alert.severity,
            alert.case,
            alert.subject + (f" and {more} more nodes" if more else ""),
            ago(alert.opened_at, now),
            alert.last_run_id,
            one_line(f"{alert.reason}: {alert.message}").rstrip(": "),
        )
        for alert, more in _gathered(fleet.alerts)
    )


def _gathered(alerts: Sequence[AlertView]) -> Iterator[tuple[AlertView, int]]:
    """Alerts, and how many like the last one are left out: a case that fails on many nodes must not fill the screen."""
    alike: dict[tuple[str, ...], list[AlertView]] = defaultdict(list)
    for alert in alerts:
        alike[alert.kind, alert.case, alert.cluster].append(alert)
    for group in alike.values():
        yield from ((alert, 0) for alert in group[: NAMED - 1])
        if rest := group[NAMED - 1 :]:
            yield rest[0], len(rest) - 1


def print_nodes(cells: Sequence[NodeCell], now: datetime) -> None:
    """A line for each case and node, those that do not pass first."""
    if not cells:
        remark("No case has verdicts of nodes there. Bindings with `nodes` produce them.")
        return
    Columns("VERDICT", "CASE", "NODE", "SINCE", "LAST CHANGE").print(
        (
            Text(MEANINGS[cell.shown], SYMBOLS[cell.shown][1]),
            cell.case,
            cell.subject,
            ago(cell.since, now),
            cell.run_id,
        )
        for cell in sorted(cells, key=lambda cell: (cell.shown is Shown.PASS, cell.case, cell.cluster, cell.node))
    )
