"""Apprise: chat, mail, paging and 100 more services, by address."""

import logging

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

from kubeprobe.catalog.model.route import AppriseTarget
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.errors import PermanentTargetError, TemporaryTargetError
from kubeprobe.response.targets.kind import TargetKind
from kubeprobe.response.targets.secret import read_secret, redact

TIMEOUT_S = 20.0

# Apprise and its HTTP client log addresses, at debug level in full. Our errors hold Apprise's messages, redacted.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
for _name in ("apprise", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_TYPES = {
    MessageKind.FAILED: NotifyType.FAILURE,
    MessageKind.UNKNOWN: NotifyType.WARNING,
    MessageKind.RECOVERED: NotifyType.SUCCESS,
    MessageKind.RESTORED: NotifyType.SUCCESS,
    MessageKind.WITHDRAWN: NotifyType.INFO,
}


def send(target: AppriseTarget, message: Message, delivery: Delivery) -> None:  # noqa: ARG001
    """Send the message to the service of the address.

    Apprise does not report whether an error is permanent, so every one is temporary, except for an address that it
    cannot parse.
    """
    address = target.url if target.url_from is None else read_secret(target.url_from)
    assert address is not None
    services = Apprise(asset=AppriseAsset(app_id="KubeProbe", app_desc="KubeProbe", app_url=""))
    if not services.add(address):
        raise PermanentTargetError("Apprise cannot parse the target's address; see its wiki for the format")
    result = services.notify(
        body=message.text,
        title=message.title,
        notify_type=_TYPES[message.kind],
        body_format=NotifyFormat.TEXT,
        timeout=TIMEOUT_S,
        log_level=logging.WARNING,
    )
    if not result:
        reason = "; ".join(entry.message for entry in result.logs()) or "no reason given"
        raise TemporaryTargetError(redact(f"Apprise could not deliver: {reason}", address))


KIND = TargetKind(AppriseTarget, send)
