"""Lists of runs, and following them: outcomes are printed as they are stored."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from kubeprobe.cli.arguments import Output
from kubeprobe.cli.output import Columns, print_json, print_json_line, remark
from kubeprobe.cli.run_text import TITLES, run_row
from kubeprobe.clock import Clock, utc_now
from kubeprobe.store import Store
from kubeprobe.views import RunFilter, RunView, list_runs, outcomes_since

PAUSE_S = 1.0
OVERLAP = timedelta(seconds=10)
"""Transactions may commit later than others whose outcomes are newer: what is new is looked for so far back."""


def show_runs(store: Store, wanted: RunFilter, limit: int, output: Output) -> None:
    """List runs, newest first."""
    with store.reading() as session:
        found = list_runs(session, wanted, limit)
    if output is Output.JSON:
        print_json(found)
    elif found:
        Columns(*TITLES).print(run_row(run) for run in found)
    else:
        remark("No such runs. `kubeprobe run CASE --cluster NAME` asks for one.")


def follow_runs(store: Store, wanted: RunFilter, limit: int, output: Output) -> None:
    """The newest runs that have ended, then every outcome as it is stored. Until Ctrl-C."""
    columns, is_first = Columns(*TITLES), True
    with store.reading() as session:
        newest = [run for run in list_runs(session, wanted, limit) if run.stored_at is not None]
    newest.sort(key=lambda run: (run.stored_at, run.id))
    for found in [newest], new_outcomes(store, wanted, {run.id for run in newest}):
        for group in found:
            if output is Output.JSON:
                for run in group:
                    print_json_line(run)
            elif group:
                columns.print((run_row(run) for run in group), title=is_first)
                is_first = False


def new_outcomes(
    store: Store,
    wanted: RunFilter,
    seen: set[str],
    clock: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Sequence[RunView]]:
    """Outcomes stored from now on, in groups, each once, without end; those `seen` are left out."""
    known: dict[str, datetime] = dict.fromkeys(seen, clock())
    for _ in count():
        since = clock() - OVERLAP
        with store.reading() as session:
            found = outcomes_since(session, wanted, since)
        yield [run for run in found if run.id not in known]
        known = {run_id: at for run_id, at in known.items() if at >= since - OVERLAP}
        known |= {run.id: run.stored_at for run in found if run.stored_at}
        sleep(PAUSE_S)
