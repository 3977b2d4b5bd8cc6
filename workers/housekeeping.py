"""Tasks that beat issues to keep the store in order; each may run twice at once without harm."""

from kubeprobe import response, runs
from kubeprobe.clock import utc_now
from kubeprobe.queue import Task
from kubeprobe.sources import Means, sync_due
from workers.app import app


@app.task(name=Task.EXPIRE)
def expire() -> None:
    """Close runs whose time is up, and have their pods removed."""
    app.parts.dispatch(runs.expire(app.parts.store, utc_now()).effects)


@app.task(name=Task.RESEND_NOTIFICATIONS)
def resend_notifications() -> None:
    """Wake responders for outcomes and messages whose wake was lost or whose time has come again."""
    app.parts.dispatch(response.overdue(app.parts.store, utc_now()))


@app.task(name=Task.REPEAT_ALERTS)
def repeat_alerts() -> None:
    """Repeat what targets forget that are not reminded; close incidents that nothing will ever close."""
    parts, now = app.parts, utc_now()
    parts.dispatch(response.repeat_alerts(parts.store, parts.catalogs, now))
    parts.dispatch(response.close_withdrawn(parts.store, parts.catalogs, now))


@app.task(name=Task.SYNC_SOURCES)
def sync_sources() -> None:
    """Look at the Git repositories that are due, and apply what is new in them."""
    sync_due(Means.of(app.parts.store, app.parts.settings))


@app.task(name=Task.FORGET)
def forget() -> None:
    """Remove what is older than `keep_outcomes`."""
    parts, now = app.parts, utc_now()
    while runs.forget(parts.store, now, parts.settings):
        pass
    response.forget_incidents(parts.store, now - parts.settings.keep_outcomes)
