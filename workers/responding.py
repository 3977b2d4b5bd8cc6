"""Tasks of responders: outcomes become alerts and notifications, and notifications are sent."""

from kubeprobe.clock import utc_now
from kubeprobe.queue import Task
from kubeprobe.response.deliver import deliver as deliver_notification
from kubeprobe.response.respond import respond as respond_to_outcomes
from workers.app import app


@app.task(name=Task.RESPOND)
def respond() -> None:
    """Fold the outcomes that no responder has processed; have their notifications sent."""
    installation = app.context.installation
    app.context.dispatch(respond_to_outcomes(installation.store, installation.catalogs, utc_now()))


@app.task(name=Task.DELIVER)
def deliver(notification_id: str) -> None:
    """Send one notification to one target."""
    installation = app.context.installation
    deliver_notification(installation.store, installation.catalogs, notification_id, utc_now())
