"""Reporting on runs that were just requested, and waiting for them: live on a terminal, line by line elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from kubeprobe.app import NotEndedError, RequestedRuns
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.frame import BAD_NEWS, INCONCLUSIVE, print_error
from kubeprobe.cli.output import Columns, brief, console, error_console, print_json, remark, styled
from kubeprobe.cli.run_text import message_lines, step_lines, took
from kubeprobe.runs import worst
from kubeprobe.views import RunView
from kubeprobe.vocabulary import RunState, Verdict

SHOWN_LIVE = 20
EXPLAINED = 20
PATIENCE_S = 15.0
"""A launcher that lives takes a run within a second or two."""
EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: BAD_NEWS, Verdict.UNKNOWN: INCONCLUSIVE}


def report(requested: RequestedRuns, timeout_s: float | None, output: Output, none: str = "Nothing to run.") -> int:
    """Print the runs that were opened; gives the exit code.

    With a `timeout_s`, wait for their outcomes: the exit code is theirs, and inconclusive if there are no runs.
    """
    late: NotEndedError | None = None
    if timeout_s is not None and requested.run_ids:
        with Progress() as progress:
            try:
                requested.wait(timeout_s, progress.show)
            except NotEndedError as error:
                late = error
    found = requested.runs
    if output is Output.JSON:
        print_json(found)
    elif found:
        print_results(found)
    else:
        remark(none)
    if timeout_s is None:
        return 0
    if late is None:
        return EXIT_CODES[worst(run.verdict for run in found) or Verdict.UNKNOWN]
    print_error(str(late))
    return BAD_NEWS if any(run.verdict == Verdict.FAIL for run in found) else INCONCLUSIVE


def print_results(found: Sequence[RunView]) -> None:
    """A line for each run; below, the messages of those that did not pass, or the steps of a single one."""
    Columns("VERDICT", "CASE", "CLUSTER", "TOOK", "REASON", "RUN").print(
        (styled(run.verdict or run.state), run.case, run.subject, took(run), run.reason or "-", run.id) for run in found
    )
    out = console()
    for line in _explanations(found):
        out.print(line)


def _explanations(found: Sequence[RunView]) -> Iterator[Text]:
    if len(found) == 1:
        yield from message_lines(found[0])
        yield from step_lines(found[0].report)
        return
    failing = [run for run in found if run.verdict not in {None, Verdict.PASS}]
    for run in failing[:EXPLAINED]:
        yield Text.assemble("\n", (f"{run.case} on {run.subject}", "bold"), ": ", styled(run.verdict))
        yield from message_lines(run)
    if len(failing) > EXPLAINED:
        yield Text(f"\n{len(failing) - EXPLAINED} more did not pass; see `kubeprobe runs`", "dim")


class Progress:
    """The progress of runs, on standard error."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._is_hinted = False
        self._console = error_console()
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, runs: Sequence[RunView]) -> None:
        """Show where the runs are now; once, hint at the cause when no launcher takes them."""
        if not self._is_hinted and self._clock() - self._started > PATIENCE_S and any(map(_waits_for_launcher, runs)):
            self._is_hinted = True
            self._console.print(
                "Still waiting for a launcher. `kubeprobe doctor` shows whether one is running.", style="yellow"
            )
        if self._console.is_terminal:
            self._live.update(self._picture(runs), refresh=True)
            return
        for run in runs:
            state = _state(run)
            if self._shown.get(run.id) != state:
                self._shown[run.id] = state
                self._console.print(f"{run.case} on {run.subject}: {state}")

    def _picture(self, runs: Sequence[RunView]) -> Group:
        """Those that have not ended, and how many have."""
        done = sum(run.verdict is not None for run in runs)
        unfinished = [run for run in runs if run.verdict is None]
        rows = [(styled(run.state), run.case, run.subject, run.id) for run in unfinished[:SHOWN_LIVE]]
        lines = Columns("", "", "", "").lines(rows, title=False)
        if len(unfinished) > SHOWN_LIVE:
            lines.append(Text(f"... and {len(unfinished) - SHOWN_LIVE} more", "dim"))
        failed = sum(run.verdict == Verdict.FAIL for run in runs)
        waited = brief(timedelta(seconds=int(self._clock() - self._started)))
        summary = Text.assemble((f"{done} of {len(runs)} done", "bold"), (f" after {waited}", "dim"))
        return Group(*lines, summary.append(f", {failed} failed", "bold red") if failed else summary)


def _waits_for_launcher(run: RunView) -> bool:
    return run.state == RunState.PENDING and not run.held and run.setback is None


def _state(run: RunView) -> str:
    if run.verdict is not None:
        return f"{run.verdict} ({run.reason})"
    if run.held:
        return "pending: the cluster has reached its cap on pods"
    return f"{run.state}: retried after {run.setback}" if run.setback else run.state
