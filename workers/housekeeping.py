"""Tasks that beat issues to keep the house in order; each may run twice at once without harm."""

from itertools import groupby

from kubeprobe.clock import utc_now
from kubeprobe.execution import sweep
from kubeprobe.queue import HOUSEKEEPING_QUEUE, Task
from kubeprobe.response.deliver import due_notifications
from workers.app import app


@app.task(name=Task.EXPIRE, queue=HOUSEKEEPING_QUEUE)
def expire() -> None:
    """Give their outcome to runs whose time is up, and have their pods removed."""
    parts = app.parts
    expired = sweep.expire(parts.store, utc_now())
    if expired:
        parts.queue.wake_responder()
    for (pool, cluster), runs in groupby(sorted(expired, key=_way), key=_way):
        parts.queue.remove_pods(pool, cluster, [run.id for run in runs])


@app.task(name=Task.RESEND_NOTIFICATIONS, queue=HOUSEKEEPING_QUEUE)
def resend_notifications() -> None:
    """Wake responders for outcomes and messages whose wake was lost or whose time has come again."""
    parts = app.parts
    parts.queue.wake_responder()
    parts.queue.deliver(due_notifications(parts.store, utc_now()))


@app.task(name=Task.FORGET, queue=HOUSEKEEPING_QUEUE)
def forget() -> None:
    """Remove what is older than `keep_outcomes`."""
    parts = app.parts
    while sweep.forget(parts.store, utc_now(), parts.settings):
        pass


def _way(run: object) -> tuple[str, str]:
    return run.pool, run.cluster  # type: ignore[attr-defined]
