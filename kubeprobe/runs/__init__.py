"""Runs: the only writer of run and outcome rows, and so the owner of a run's states (promise 1).

`open` inserts runs under the key of their slot, `claim` gives them to a launcher, `retry` puts them off or back,
`close` ends them with their outcome, `retention` ends what nobody else will and forgets what is old. `verdicts` has
the arithmetic of verdicts. Above it: `trigger` opens runs, `execution` claims and closes them, `response` reads
their outcomes and marks them as answered (`Outcome.responded_at`, the one column that is not written here).
"""

from kubeprobe.runs.claim import Claim, CreatedPod, claim, held_runs, lock_cluster, mark_running
from kubeprobe.runs.close import Ending, close, close_waiting, replace_runs
from kubeprobe.runs.open import OpenedRun, Opening, check_id, open_runs, slot_of
from kubeprobe.runs.retention import Expired, expire, forget
from kubeprobe.runs.retry import PutOff, due_wakes, postpone, put_off, release_postponed
from kubeprobe.runs.rows import lock_runs
from kubeprobe.runs.verdicts import NO_ANSWER, Judgement, is_answer, worst

__all__ = [
    "NO_ANSWER",
    "Claim",
    "CreatedPod",
    "Ending",
    "Expired",
    "Judgement",
    "OpenedRun",
    "Opening",
    "PutOff",
    "check_id",
    "claim",
    "close",
    "close_waiting",
    "due_wakes",
    "expire",
    "forget",
    "held_runs",
    "is_answer",
    "lock_cluster",
    "lock_runs",
    "mark_running",
    "open_runs",
    "postpone",
    "put_off",
    "release_postponed",
    "replace_runs",
    "slot_of",
    "worst",
]
