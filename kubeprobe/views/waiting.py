"""Waiting for outcomes by reading the store: the caller waits, never a task (promise 4)."""

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from kubeprobe.backoff import Backoff
from kubeprobe.views.runs import RunView, by_subject

BACKOFF = Backoff(first=timedelta(seconds=0.2), longest=timedelta(seconds=1), factor=1.15)


def wait_for_outcomes(
    query_runs: Callable[[Sequence[str]], list[RunView]],
    run_ids: Sequence[str],
    timeout_s: float | None = None,
    on_progress: Callable[[list[RunView]], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[RunView]:
    """The runs, once all have their outcome or `timeout_s` is over. `query_runs` gives those of some ids.

    `on_progress` is called with them after every query. Queries those that have not ended, in one statement, at first
    five times a second and later once.
    """
    started = time.monotonic()
    known: dict[str, RunView] = {}
    for count in itertools.count(1):
        waiting = [run_id for run_id in run_ids if run_id not in known or known[run_id].stored_at is None]
        found = {run.id: run for run in query_runs(waiting)}
        known |= found
        runs = sorted(known.values(), key=by_subject)
        if on_progress is not None:
            on_progress(runs)
        left_s = None if timeout_s is None else started + timeout_s - time.monotonic()
        if all(run.stored_at for run in runs) or (left_s is not None and left_s <= 0):
            return runs
        pause_s = BACKOFF.pause(count).total_seconds()
        sleep(pause_s if left_s is None else min(pause_s, left_s))
    raise AssertionError("counts without end")
