"""Tasks that keep the store in order. Beat wakes a worker for those that are due; it claims them in the store.

Each may run twice at once without harm, and ends well within the broker's visibility time-out.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog

from kubeprobe import response, runs, sources, trigger
from kubeprobe.clock import TimeLimit
from kubeprobe.execution import leftovers
from kubeprobe.execution.collect import leases
from kubeprobe.execution.locations import delete_locations_of_removed_clusters
from kubeprobe.queue import Task
from kubeprobe.store.clock import delete_old_process_clocks
from workers.app import app

log = structlog.get_logger(__name__)

EXPIRE_FOR = timedelta(seconds=10)
"""Of closing runs at a time; beat issues the next task."""
FORGET_FOR = timedelta(seconds=30)
"""Of deleting at a time; the rest follows at once, in another task."""


def _claim(task: Task) -> bool:
    installation = app.context.installation
    return trigger.claim_housekeeping(installation.store, task, installation.clock())


@app.task(name=Task.EXPIRE)
def expire() -> None:
    """Close runs that have expired, and have their pods removed."""
    if not _claim(Task.EXPIRE):
        return
    installation = app.context.installation
    for expired in runs.expire_all(installation.store, installation.clock, TimeLimit(EXPIRE_FOR)):
        app.context.dispatch(expired.effects)


@app.task(name=Task.RESEND_NOTIFICATIONS)
def resend_notifications() -> None:
    """Wake responders for outcomes whose message was lost, and for notifications that are due again."""
    if not _claim(Task.RESEND_NOTIFICATIONS):
        return
    installation = app.context.installation
    app.context.dispatch(response.due_effects(installation.store, installation.catalogs, installation.clock()))


@app.task(name=Task.REPEAT_ALERTS)
def repeat_alerts() -> None:
    """Repeat open alerts to targets that forget, notify of those whose routes were unreadable, close withdrawn ones."""
    if not _claim(Task.REPEAT_ALERTS):
        return
    installation = app.context.installation
    now = installation.clock()
    for update in (response.repeat_alerts, response.notify_deferred, response.close_withdrawn):
        try:
            app.context.dispatch(update(installation.store, installation.catalogs, now))
        except Exception:  # what one of them cannot process stops no other
            log.exception("open alerts not updated", step=update.__name__)


@app.task(name=Task.SYNC_SOURCES)
def sync_sources() -> None:
    """Sync the sources that are due; a push may have made one due since beat's last message."""
    _claim(Task.SYNC_SOURCES)
    sources.sync_due(app.context.installation.sync_context)


@app.task(name=Task.FORGET)
def forget() -> None:
    """Delete what is older than `keep_outcomes`, for half a minute at most."""
    if not _claim(Task.FORGET):
        return
    installation = app.context.installation
    store, settings, now = installation.store, installation.settings, installation.clock()
    limit = TimeLimit(FORGET_FOR)
    before = now - settings.keep_outcomes
    deletions: tuple[Callable[[], int | None], ...] = (
        lambda: leases.delete_dead_collectors(store, now, settings),
        lambda: delete_locations_of_removed_clusters(store, now),
        lambda: delete_old_process_clocks(store, now),
        lambda: runs.delete_old_runs(store, now, settings),
        lambda: trigger.delete_old_changes(store, before),
        lambda: leftovers.delete_old_leftovers(store, before),
        lambda: response.delete_old_alerts(store, before),
        lambda: response.delete_old_errors(store, before),
        lambda: response.delete_removed_targets(store, installation.catalogs),
    )
    for delete in deletions:
        try:
            while delete():
                if limit.is_over:
                    trigger.continue_housekeeping(store, Task.FORGET, now)
                    return
        except Exception:  # what one table holds stops no other's deletions
            log.exception("old rows not deleted")
