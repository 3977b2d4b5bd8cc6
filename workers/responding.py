"""Tasks of responders: outcomes become alerts and messages, and messages are sent."""

from kubeprobe.clock import utc_now
from kubeprobe.queue import Task
from kubeprobe.response.deliver import deliver as deliver_notification
from kubeprobe.response.respond import respond as respond_to_outcomes
from workers.app import app


@app.task(name=Task.RESPOND)
def respond() -> None:
    """Fold the outcomes that nobody has answered yet; have their messages sent."""
    app.context.dispatch(respond_to_outcomes(app.context.store, app.context.catalogs, utc_now()))


@app.task(name=Task.DELIVER)
def deliver(notification_id: str) -> None:
    """Send one message to one target."""
    context = app.context
    deliver_notification(context.store, context.catalogs, notification_id, utc_now())
