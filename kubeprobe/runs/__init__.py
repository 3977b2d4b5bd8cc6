"""Runs: the only writer of run and outcome rows, and so the owner of a run's states (promise 1).

`open` inserts runs under the key of their slot, `claim` assigns them to a launcher, `retry` postpones and resends them,
`close` stores their outcomes, `retention` closes expired runs and deletes old ones. `verdicts` has the arithmetic of
verdicts. Above it: `trigger` opens runs, `execution` claims and closes them, `response` reads their outcomes and marks
them as processed (`Outcome.responded_at`, the one column that is not written here).
"""

from kubeprobe.runs.claim import Claim, CreatedPod, claim, held_runs, lock_cluster, mark_running
from kubeprobe.runs.close import Ending, close, close_waiting, replace_runs
from kubeprobe.runs.open import OpenedRun, Opening, check_id, open_runs, slot_of
from kubeprobe.runs.retention import Expired, delete_old_runs, expire, expire_all, set_aside_invalid_times
from kubeprobe.runs.retry import Setback, postpone, put_off, release_postponed, resend_overdue, return_claimed
from kubeprobe.runs.rows import lock_runs
from kubeprobe.runs.verdicts import UNCOUNTED, Judgement, is_counted, worst

__all__ = [
    "UNCOUNTED",
    "Claim",
    "CreatedPod",
    "Ending",
    "Expired",
    "Judgement",
    "OpenedRun",
    "Opening",
    "Setback",
    "check_id",
    "claim",
    "close",
    "close_waiting",
    "delete_old_runs",
    "expire",
    "expire_all",
    "held_runs",
    "is_counted",
    "lock_cluster",
    "lock_runs",
    "mark_running",
    "open_runs",
    "postpone",
    "put_off",
    "release_postponed",
    "replace_runs",
    "resend_overdue",
    "return_claimed",
    "set_aside_invalid_times",
    "slot_of",
    "worst",
]
