"""Where messages are sent: one module for each kind of target, and the registry of kinds.

A new kind is a field of `RouteTarget` with its spec, a module here with a `KIND`, and a line in `KINDS`.
A target raises TemporaryTargetError or PermanentTargetError and nothing else; it neither logs nor shows an address.
"""

from typing import Any

from kubeprobe.catalog.model import RouteTarget
from kubeprobe.response.message import Message
from kubeprobe.response.targets import alertmanager, apprise, log, webhook
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.errors import PermanentTargetError, TargetError, TemporaryTargetError
from kubeprobe.response.targets.kind import TargetKind

__all__ = [
    "KINDS",
    "Delivery",
    "PermanentTargetError",
    "TargetError",
    "TemporaryTargetError",
    "kind_of",
    "needs_repeats",
    "send",
]

KINDS: dict[str, TargetKind[Any]] = {
    "alertmanager": alertmanager.KIND,
    "apprise": apprise.KIND,
    "log": log.KIND,
    "webhook": webhook.KIND,
}
"""By their field of `RouteTarget`."""


def send(target: RouteTarget, message: Message, delivery: Delivery) -> None:
    """Send a message to a target of any kind. Raises TargetError."""
    name = kind_of(target)
    KINDS[name].send(getattr(target, name), message, delivery)


def needs_repeats(target: RouteTarget) -> bool:
    """Whether the openings of open alerts must be repeated to the target, because it forgets."""
    return KINDS[kind_of(target)].needs_repeats


def kind_of(target: RouteTarget | None) -> str:
    """The one kind that is set: the catalog's model sees to it; `removed` for a target that the catalog lacks."""
    if target is None:
        return "removed"
    return next(name for name in KINDS if getattr(target, name) is not None)
