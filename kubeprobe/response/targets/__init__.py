"""Where messages go: one module for each kind of target, each with `send(target, message, delivery)`.

A target raises TemporaryTargetError or PermanentTargetError and nothing else; it neither logs nor tells an address.
"""

from kubeprobe.catalog.model import RouteTarget
from kubeprobe.response.message import Message
from kubeprobe.response.targets import alertmanager, apprise, log, webhook
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.errors import PermanentTargetError, TargetError, TemporaryTargetError

__all__ = ["Delivery", "PermanentTargetError", "TargetError", "TemporaryTargetError", "send", "wants_repeats"]


def send(target: RouteTarget, message: Message, delivery: Delivery) -> None:
    """Send a message to a target of whichever kind."""
    if target.apprise is not None:
        apprise.send(target.apprise, message, delivery)
    elif target.webhook is not None:
        webhook.send(target.webhook, message, delivery)
    elif target.alertmanager is not None:
        alertmanager.send(target.alertmanager, message, delivery)
    elif target.log is not None:
        log.send(target.log, message, delivery)


def wants_repeats(target: RouteTarget) -> bool:
    """Whether the target must hear of an open alert again and again, because it forgets."""
    return target.alertmanager is not None
