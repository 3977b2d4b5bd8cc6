"""Tasks of responders: outcomes become alerts and notifications, and notifications are sent."""

from kubeprobe.queue import Task
from kubeprobe.response.respond import respond as respond_to_outcomes
from kubeprobe.response.routes import TargetRef
from workers.app import app


@app.task(name=Task.RESPOND)
def respond() -> None:
    """Fold the outcomes that no responder has processed; have their notifications sent."""
    installation = app.context.installation
    app.context.dispatch(respond_to_outcomes(installation.store, installation.catalogs, installation.clock()))


@app.task(name=Task.DELIVER)
def deliver(route: str, target: str) -> None:
    """Have what waits for one target sent, without waiting for it."""
    app.context.deliveries.start(TargetRef(route, target))
