"""The responder's own log: a target that needs no setup."""

import structlog

from kubeprobe.catalog.model.route import LogTarget
from kubeprobe.response.message import Message
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.kind import TargetKind

_log = structlog.get_logger(__name__)


def send(target: LogTarget, message: Message, delivery: Delivery) -> None:  # noqa: ARG001
    """Log the message: a problem at warning, the end of one at info."""
    write = _log.warning if message.is_problem else _log.info
    write(message.title, alert=message.alert, run=message.run, reason=message.reason, errors=list(message.errors))


KIND = TargetKind(LogTarget, send)
