"""Plans and applied catalogs as text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from rich.text import Text

from kubeprobe.catalog import Action, ApplyResult, CatalogError, ItemChange, Plan
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.frame import NOT_DONE
from kubeprobe.cli.output import Columns, brief, console, print_json, styled

SIGNS = {Action.ADDED: "+", Action.CHANGED: "~", Action.REMOVED: "-"}
SHOWN_LOADS = 15
SHOWN_KEPT = 6
VALUE_LENGTH = 60


def print_plan(planned: Plan, ending: str = "") -> None:
    """A plan, for people."""
    print_items(planned.items)
    _print_loads(planned)
    _print_times(planned)
    out = console()
    for warning in planned.warnings:
        out.print(f"warning: {warning}", style="yellow")
    counts = ", ".join(f"{planned.count(action)} {action}" for action in Action if planned.count(action))
    out.print(f"\nPlan: {counts or 'the files declare nothing'}. {ending}".rstrip(), style="bold")


def print_applied(applied: ApplyResult) -> None:
    """What an apply changed, for people."""
    print_items(applied.items)
    out, schedules = console(), applied.schedules
    if not applied.changed_anything:
        out.print("Nothing to change.")
        return
    out.print(
        f"Applied: catalog version {applied.version}; schedules: {schedules.added} added, "
        f"{schedules.changed} changed, {schedules.removed} removed."
    )


@contextmanager
def catalog_problems(output: Output) -> Iterator[None]:
    """Print the problems of a refused catalog as JSON, if the output is JSON."""
    try:
        yield
    except CatalogError as error:
        if output is not Output.JSON:
            raise
        print_json({"problems": error.problems})
        raise typer.Exit(NOT_DONE) from None


def print_items(items: Sequence[ItemChange]) -> None:
    """What is added, changed and removed."""
    out = console()
    for item in items:
        if item.action not in SIGNS:
            continue
        sign = Text(SIGNS[item.action], styled(str(item.action)).style)
        out.print(Text.assemble(sign, f" {item.kind}/{item.name}", (f"  {item.origin}" if item.origin else "", "dim")))
        for field in item.fields:
            out.print(f"    {field.path}: {_value(field.before)} -> {_value(field.after)}")
    kept = [f"{item.kind}/{item.name}" for item in items if item.action is Action.KEPT]
    if kept:
        more = f" and {len(kept) - SHOWN_KEPT} more" if len(kept) > SHOWN_KEPT else ""
        listed = ", ".join(kept[:SHOWN_KEPT]) + more
        out.print(f"Kept, though these files don't declare it (--prune removes it): {listed}", style="dim")


def _value(value: Any) -> str:
    text = "(default)" if value is None else str(value)
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 3] + "..."


def _print_loads(planned: Plan) -> None:
    """Runs per hour, those clusters first where they change."""
    loads = sorted(planned.loads, key=lambda load: load.before == load.after)
    if not loads:
        return
    console().print()
    rows = [(load.cluster, _rate(load.before), _rate(load.after)) for load in loads[:SHOWN_LOADS]]
    Columns("CLUSTER", "RUNS/H NOW", "AFTERWARDS").print(rows)
    if len(loads) > SHOWN_LOADS:
        total = sum(load.after or 0 for load in loads)
        console().print(f"and {len(loads) - SHOWN_LOADS} more clusters; {total:g} runs an hour in all", style="dim")


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:g}"


def _print_times(planned: Plan) -> None:
    if not planned.timetables:
        return
    console().print()
    Columns("BINDING", "SCHEDULE", "RUNS ON", "NEXT TIMES (UTC)", "SPREAD").print(
        (
            table.binding,
            f"{table.schedule} (paused)" if table.paused else table.schedule,
            f"{table.schedules} case{'' if table.schedules == 1 else 's'} x clusters",
            _times(table.times),
            f"over {brief(timedelta(seconds=table.spread_s))}" if table.spread_s else "none",
        )
        for table in planned.timetables
    )


def _times(times: Sequence[datetime]) -> str:
    """The date is shown only where it changes."""
    shown, day = [], None
    for moment in times:
        utc = moment.astimezone(UTC)
        shown.append(f"{utc:%H:%M:%S}" if utc.date() == day else f"{utc:%m-%d %H:%M:%S}")
        day = utc.date()
    return ", ".join(shown)
