"""Apprise: chat, mail, paging and 100 more services, by address."""

import logging
import re
from collections.abc import Callable
from html import escape

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType, OverflowMode
from apprise.conversion import convert_between

from kubeprobe.catalog.model.route import AppriseTarget
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.shorten import shorten, utf16_length
from kubeprobe.response.targets.apprise_http import bound_requests, time_limit
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.errors import PermanentTargetError, TemporaryTargetError
from kubeprobe.response.targets.kind import TargetKind
from kubeprobe.response.targets.posting import is_temporary
from kubeprobe.response.targets.secret import read_secret, redact

TIMEOUT_S = 20.0
"""For the requests of one message together."""
MAX_SOCKET_TIMEOUT_S = 10.0
"""For one read or one connection, whatever the address requests (`rto`, `cto`)."""

# Apprise and its HTTP client log addresses, at debug level in full. Our errors hold Apprise's messages, redacted.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
for _name in ("apprise", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.WARNING)
bound_requests()

_TYPES = {
    MessageKind.FAILED: NotifyType.FAILURE,
    MessageKind.UNKNOWN: NotifyType.WARNING,
    MessageKind.RECOVERED: NotifyType.SUCCESS,
    MessageKind.RESTORED: NotifyType.SUCCESS,
    MessageKind.WITHDRAWN: NotifyType.INFO,
}
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
"""How Apprise's plugins report the status of a response that is not a success."""
_MARGIN = 16
"""Characters that Apprise may add to a title and a text."""


def send(target: AppriseTarget, message: Message, delivery: Delivery) -> None:  # noqa: ARG001
    """Send the message to the service of the address, cut to what the service accepts.

    Permanent are an address that Apprise cannot parse, and a status that the service will not change; Apprise reports
    no other error in a way that shows whether it is.
    """
    address = target.url if target.url_from is None else read_secret(target.url_from)
    assert address is not None
    # Without any time-out of its own, Apprise sends in this thread: its pool of threads is shared by all targets, and a
    # call that it stops waiting for may still deliver.
    asset = AppriseAsset(app_id="KubeProbe", app_desc="KubeProbe", app_url="", async_mode=False, service_timeout=0)
    services = Apprise(asset=asset)
    if not services.add(address):
        raise PermanentTargetError("Apprise cannot parse the target's address; see its wiki for the format")
    title, text = message.title, message.text
    for service in services:
        title, text = _fit(service, title, text)
        _limit_times(service)
    with time_limit(TIMEOUT_S):
        result = services.notify(
            body=text,
            title=title,
            notify_type=_TYPES[message.kind],
            body_format=NotifyFormat.TEXT,
            log_level=logging.WARNING,
        )
    if not result:
        reason = "; ".join(entry.message for entry in result.logs()) or "no reason given"
        text = redact(f"Apprise could not deliver: {shorten(reason, 1000)}", address)
        statuses = [int(status) for status in _STATUS.findall(reason)]
        if statuses and all(status >= 300 and not is_temporary(status) for status in statuses):
            raise PermanentTargetError(text)
        raise TemporaryTargetError(text, may_have_arrived=True)


def _limit_times(service: NotifyBase) -> None:
    """Every wait of the service ends, whatever its address requests. Attempts are repeated by `deliver`, not here."""
    service.socket_connect_timeout = limit_timeout(service.socket_connect_timeout)
    service.socket_read_timeout = limit_timeout(service.socket_read_timeout)
    service.retry, service.wait = 0, 0.0


def limit_timeout(seconds: float) -> float:
    """A time-out that ends: `seconds`, if it is a positive number that is not too large."""
    return seconds if 0 < seconds <= MAX_SOCKET_TIMEOUT_S else MAX_SOCKET_TIMEOUT_S


def _fit(service: NotifyBase, title: str, text: str) -> tuple[str, str]:
    """Title and text within the limits of a service, unless its address says how to split what is too long.

    Its limits hold after the conversion to its format (HTML, Markdown), which adds characters.
    """
    if service.overflow_mode == OverflowMode.SPLIT:
        return title, text
    if service.title_maxlen > 0:
        title = shorten(title, service.title_maxlen, _length_as(service))
    limit = service.body_maxlen - _MARGIN
    if service.title_maxlen <= 0 or service.overflow_amalgamate_title:
        limit -= _length_as(service)(title)
    if service.body_max_line_count > 0:
        lines = text.splitlines()
        kept = max(1, service.body_max_line_count - 2)
        text = text if len(lines) <= kept else "\n".join([*lines[: kept - 1], lines[-1]])
    service.overflow_mode = OverflowMode.TRUNCATE  # whatever a conversion may add that was not foreseen
    return title, shorten(text, max(limit, 1), _length_as(service))


def _length_as(service: NotifyBase) -> Callable[[str], int]:
    """How long a text is for the service: in its format, with the longer count of characters.

    Some plugins escape `&`, `<` and `>` once more when they send.
    """
    convert: Callable[..., str] = convert_between
    form = service.resolve_format(NotifyFormat.TEXT)
    return lambda text: max(
        utf16_length(convert(NotifyFormat.TEXT, form, text)), utf16_length(escape(text, quote=False))
    )


KIND = TargetKind(AppriseTarget, send)
