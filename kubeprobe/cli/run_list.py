"""Lists of runs, and following them: outcomes are printed as they are stored."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from kubeprobe.app import Installation
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.output import Columns, print_json, print_json_line, remark
from kubeprobe.cli.run_text import TITLES, run_row
from kubeprobe.views import RunFilter, RunView, list_runs, outcomes_since

PAUSE_S = 1.0
OVERLAP = timedelta(seconds=10)
"""Transactions may commit later than others whose outcomes are newer: new ones are searched so far back."""


def print_runs(runs: Sequence[RunView], output: Output) -> None:
    """List runs."""
    if output is Output.JSON:
        print_json(runs)
    elif runs:
        Columns(*TITLES).print(run_row(run) for run in runs)
    else:
        remark("No such runs. `kubeprobe run CASE --cluster NAME` requests one.")


def follow_runs(installation: Installation, wanted: RunFilter, limit: int, output: Output) -> None:
    """The newest runs that have ended, then every outcome as it is stored. Until Ctrl-C."""
    columns, is_first = Columns(*TITLES), True
    newest = [run for run in installation.read(list_runs, wanted, limit).items if run.stored_at is not None]
    newest.sort(key=lambda run: (run.stored_at, run.id))
    for found in [newest], new_outcomes(installation, wanted, {run.id for run in newest}):
        for group in found:
            if output is Output.JSON:
                for run in group:
                    print_json_line(run)
            elif group:
                columns.print((run_row(run) for run in group), title=is_first)
                is_first = False


def new_outcomes(
    installation: Installation,
    wanted: RunFilter,
    seen: set[str],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Sequence[RunView]]:
    """Outcomes stored from now on, in groups, each once, without end; those `seen` are left out."""
    known: dict[str, datetime] = dict.fromkeys(seen, installation.clock())
    earlier = installation.read(outcomes_since, wanted, installation.clock() - OVERLAP)
    known |= {run.id: run.stored_at for run in earlier if run.stored_at}
    for _ in count():
        since = installation.clock() - OVERLAP
        found = installation.read(outcomes_since, wanted, since)
        yield [run for run in found if run.id not in known]
        known = {run_id: at for run_id, at in known.items() if at >= since - OVERLAP}
        known |= {run.id: run.stored_at for run in found if run.stored_at}
        sleep(PAUSE_S)
