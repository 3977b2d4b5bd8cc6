"""Tasks that beat issues to keep the store in order; each may run twice at once without harm."""

from kubeprobe import response, runs, sources, trigger
from kubeprobe.clock import utc_now
from kubeprobe.execution import leftovers
from kubeprobe.execution.collect import leases
from kubeprobe.queue import Task
from workers.app import app


@app.task(name=Task.EXPIRE)
def expire() -> None:
    """Close runs that have expired, and have their pods removed."""
    app.context.dispatch(runs.expire(app.context.installation.store, utc_now()).effects)


@app.task(name=Task.RESEND_NOTIFICATIONS)
def resend_notifications() -> None:
    """Wake responders for outcomes whose message was lost, and for notifications that are due again."""
    app.context.dispatch(response.due_effects(app.context.installation.store, utc_now()))


@app.task(name=Task.REPEAT_ALERTS)
def repeat_alerts() -> None:
    """Repeat open alerts to targets that forget; close alerts whose case, cluster or node was removed."""
    installation, now = app.context.installation, utc_now()
    app.context.dispatch(response.repeat_alerts(installation.store, installation.catalogs, now))
    app.context.dispatch(response.close_withdrawn(installation.store, installation.catalogs, now))


@app.task(name=Task.SYNC_SOURCES)
def sync_sources() -> None:
    """Sync the sources that are due."""
    sources.sync_due(app.context.installation.sync_context)


@app.task(name=Task.FORGET)
def forget() -> None:
    """Delete what is older than `keep_outcomes`."""
    store, settings, now = app.context.installation.store, app.context.installation.settings, utc_now()
    while runs.delete_old_runs(store, now, settings):
        pass
    for delete in (trigger.delete_old_changes, leftovers.delete_old_leftovers, response.delete_old_alerts):
        delete(store, now - settings.keep_outcomes)
    leases.delete_dead_collectors(store, now, settings)
