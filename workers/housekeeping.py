"""Tasks that beat issues to keep the house in order; each may run twice at once without harm."""

from math import ceil

from kubeprobe import response, runs
from kubeprobe.clock import utc_now
from kubeprobe.queue import Task, wakes_for
from kubeprobe.sources import Means, sync_due
from workers.app import app


@app.task(name=Task.EXPIRE)
def expire() -> None:
    """Give their outcome to runs whose time is up, and have their pods removed."""
    parts = app.parts
    expired = runs.expire(parts.store, utc_now())
    for wake in wakes_for(expired.with_pods, parts.settings.batch_size):
        parts.queue.remove_pods(wake.pool, wake.cluster, wake.run_ids)
    if expired.count:
        parts.queue.wake_responder()


@app.task(name=Task.RESEND_NOTIFICATIONS)
def resend_notifications() -> None:
    """Wake responders for outcomes and messages whose wake was lost or whose time has come again."""
    parts = app.parts
    for _ in range(ceil(response.unanswered(parts.store) / response.BATCH)):
        parts.queue.wake_responder()
    parts.queue.deliver(response.due_notifications(parts.store, utc_now()))


@app.task(name=Task.REPEAT_ALERTS)
def repeat_alerts() -> None:
    """Repeat what targets forget that are not reminded; close incidents that nothing will ever close."""
    parts, now = app.parts, utc_now()
    parts.queue.deliver(response.repeat_alerts(parts.store, parts.catalogs, now))
    parts.queue.deliver(response.close_withdrawn(parts.store, parts.catalogs, now))


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
