"""Tasks that beat issues to keep the store in order; each may run twice at once without harm."""

from kubeprobe import response, runs
from kubeprobe.clock import utc_now
from kubeprobe.queue import Task
from kubeprobe.sources import SyncContext, sync_due
from workers.app import app


@app.task(name=Task.EXPIRE)
def expire() -> None:
    """Close runs whose time is up, and have their pods removed."""
    app.context.dispatch(runs.expire(app.context.store, utc_now()).effects)


@app.task(name=Task.RESEND_NOTIFICATIONS)
def resend_notifications() -> None:
    """Wake responders for outcomes and messages whose wake was lost or whose time has come again."""
    app.context.dispatch(response.due_again(app.context.store, utc_now()))


@app.task(name=Task.REPEAT_ALERTS)
def repeat_alerts() -> None:
    """Repeat what targets forget that are not reminded; close alerts that nothing will ever close."""
    context, now = app.context, utc_now()
    context.dispatch(response.repeat_alerts(context.store, context.catalogs, now))
    context.dispatch(response.close_withdrawn(context.store, context.catalogs, now))


@app.task(name=Task.SYNC_SOURCES)
def sync_sources() -> None:
    """Look at the Git repositories that are due, and apply what is new in them."""
    sync_due(SyncContext.of(app.context.store, app.context.settings))


@app.task(name=Task.FORGET)
def forget() -> None:
    """Remove what is older than `keep_outcomes`."""
    context, now = app.context, utc_now()
    while runs.delete_old_runs(context.store, now, context.settings):
        pass
    response.delete_old_alerts(context.store, now - context.settings.keep_outcomes)
