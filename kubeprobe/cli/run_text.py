"""Runs as text: a line each in lists, every detail of one."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.text import Text

from kubeprobe.cli.output import Cell, Columns, brief, clock_time, console, one_line, styled
from kubeprobe.views import LeftoverView, RunDetails, RunView
from kubeprobe.vocabulary import Verdict

TITLES = ("TIME (UTC)", "VERDICT", "CASE", "CLUSTER", "TRIGGER", "TOOK", "RUN", "REASON")


def run_row(run: RunView) -> Sequence[Cell]:
    """A run in a list; below TITLES."""
    moment = run.stored_at or run.opened_at
    reason = (
        "" if run.verdict == Verdict.PASS else one_line(f"{run.reason or _waiting(run)}: {run.summary}").rstrip(": ")
    )
    return (
        clock_time(moment),
        styled(run.verdict or run.state),
        run.case,
        run.subject,
        run.trigger,
        took(run),
        run.id,
        "" if run.verdict == Verdict.PASS else reason,
    )


def took(run: RunView) -> str:
    """How long the probe ran; Kubernetes reports whole seconds, so what the probe itself measured is preferred."""
    steps = (run.report or {}).get("steps") or ()
    measured = sum(float(step.get("ms") or 0) for step in steps if isinstance(step, Mapping))
    return brief(timedelta(milliseconds=measured)) if measured else brief(run.ran_for)


def message_lines(run: RunView | RunDetails) -> Iterator[Text]:
    """The errors that the probe reported, else the message that explains the reason."""
    errors = [str(error) for error in (run.report or {}).get("errors") or ()]
    for error in errors or ([run.message] if run.message else []):
        yield Text(f"  {error}", "" if run.verdict == Verdict.PASS else "red" if errors else "yellow")


def step_lines(report: Mapping[str, Any] | None) -> list[Text]:
    """The steps that the probe took, with their durations."""
    steps = [step for step in (report or {}).get("steps") or () if isinstance(step, Mapping)]
    rows = [
        (
            Text("  ok", "green") if step.get("ok") else Text("  failed", "red"),
            str(step.get("name", "")),
            brief(timedelta(milliseconds=float(step.get("ms") or 0))),
        )
        for step in steps
    ]
    return Columns("", "", "").lines(rows, title=False)


def print_run(run: RunDetails, now: datetime) -> None:
    """Everything about one run."""
    out = console()
    out.print(Text.assemble(styled(run.verdict or run.state), f"  {run.case} on {run.subject}  ", (run.id, "dim")))
    for line in message_lines(run):
        out.print(line)
    facts = [(name, value) for name, value in _facts(run) if value]
    out.print()
    for line in Columns("", "").lines([(Text(name, "bold"), value) for name, value in facts], title=False):
        out.print(line)
    _print_stages(run, now)
    _print_report(run)
    _print_leftovers(run)


def _facts(run: RunDetails) -> Iterator[tuple[str, str]]:
    yield "Reason", run.reason or ""
    yield "Why", run.why
    yield "Trigger", run.trigger + (f" (change {run.change_id})" if run.change_id else "")
    yield "Commit", f"{run.case_commit}, where its case came from" if run.case_commit else ""
    yield "Parameters", ", ".join(f"{key}={value}" for key, value in (run.parameters or {}).items())
    yield "Missed", f"{run.missed} slots, which this outcome stands for" if run.missed else ""
    yield "Pod", run.pod or ""
    yield "Node", run.node or ""
    yield "Exit code", "" if run.exit_code is None else str(run.exit_code)
    yield "Attempt", str(run.attempt) if run.attempt > 1 else ""
    yield "Severity", run.severity or ""
    yield "Owner", run.owner or ""
    yield "Runbook", run.runbook or ""
    yield "Log", f"kubeprobe logs {run.id}" if run.has_log else ""


def _print_stages(run: RunDetails, now: datetime) -> None:
    out = console()
    out.print()
    Columns("STAGE", "TIME (UTC)", "AFTER").print(
        (stage.name, clock_time(stage.at), _after(stage.after_s)) for stage in run.stages
    )
    if run.verdict is None:
        out.print(f"{run.state} for {brief(now - run.stages[-1].at)}", style="cyan")


def _print_report(run: RunDetails) -> None:
    out = console()
    if steps := step_lines(run.report):
        out.print("\nSteps", style="bold")
        for line in steps:
            out.print(line)
    metrics = (run.report or {}).get("metrics") or {}
    if metrics:
        out.print("\nMeasurements", style="bold")
        for line in Columns("", "").lines([(f"  {name}", str(value)) for name, value in metrics.items()], title=False):
            out.print(line)


def _print_leftovers(run: RunDetails) -> None:
    if not run.leftovers:
        return
    console().print("\nLeft behind by the probe", style="bold")
    rows = [
        (
            Text("  stuck", "bold red") if one.stuck and one.gone_at is None else Text("  removed", "yellow"),
            f"{one.resource} {_full_name(one)}",
            one.stuck if one.gone_at is None else "",
        )
        for one in run.leftovers
    ]
    for line in Columns("", "", "").lines(rows, title=False):
        console().print(line)


def _full_name(leftover: LeftoverView) -> str:
    return f"{leftover.namespace}/{leftover.name}" if leftover.namespace else leftover.name


def _after(seconds: float | None) -> str:
    return "" if seconds is None else f"+{brief(timedelta(seconds=seconds))}"


def _waiting(run: RunView) -> str:
    if run.setback:
        return f"retried after {run.setback}"
    return "the cluster has reached its cap on pods" if run.held else ""
