"""A webhook: the message as JSON, signed, with an id by which the receiver drops duplicates."""

import hashlib
import hmac

import orjson

from kubeprobe.catalog.model.route import WebhookTarget
from kubeprobe.jsonmodel import to_json
from kubeprobe.response.message import Message
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.kind import TargetKind
from kubeprobe.response.targets.posting import post_json
from kubeprobe.response.targets.secret import read_secret

SIGNATURE_HEADER = "X-KubeProbe-Signature"
DELIVERY_HEADER = "X-KubeProbe-Delivery"
EVENT_HEADER = "X-KubeProbe-Event"


def send(target: WebhookTarget, message: Message, delivery: Delivery) -> None:
    """Post the message."""
    body = orjson.dumps({"delivery": delivery.id, **to_json(message)})
    headers = {DELIVERY_HEADER: delivery.id, EVENT_HEADER: message.kind.value}
    if target.secret_from is not None:
        secret = read_secret(target.secret_from)
        headers[SIGNATURE_HEADER] = sign(secret, int(delivery.now.timestamp()), body)
    post_json(target.url, body, delivery.now, headers)


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """`t=<unix seconds>,v1=<HMAC-SHA256 of "t.body", hex>`: the time is signed too, so that replays can be rejected."""
    signed = b"%d." % timestamp + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


KIND = TargetKind(WebhookTarget, send)
