"""Waiting for outcomes by reading the store: the caller waits, never a task (promise 4)."""

import time
from collections.abc import Callable, Sequence

from kubeprobe.store import Store
from kubeprobe.views.runs import RunView, by_subject, runs_by_id

FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 1.0
GROWTH = 1.15


def wait_for_outcomes(
    store: Store,
    run_ids: Sequence[str],
    timeout_s: float | None = None,
    on_progress: Callable[[list[RunView]], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[RunView]:
    """The runs, once all have their outcome or `timeout_s` is over.

    `on_progress` is called with them after every query. Queries those that have not ended, in one statement, at first
    five times a second and later once.
    """
    started, pause = time.monotonic(), FIRST_PAUSE_S
    known: dict[str, RunView] = {}
    while True:
        waiting = [run_id for run_id in run_ids if run_id not in known or known[run_id].stored_at is None]
        with store.reading() as session:
            found = {run.id: run for run in runs_by_id(session, waiting)}
        known |= found
        runs = sorted(known.values(), key=by_subject)
        if on_progress is not None:
            on_progress(runs)
        left_s = None if timeout_s is None else started + timeout_s - time.monotonic()
        if all(run.stored_at for run in runs) or (left_s is not None and left_s <= 0):
            return runs
        sleep(pause if left_s is None else min(pause, left_s))
        pause = min(pause * GROWTH, LAST_PAUSE_S)
