"""Asks a webhook as the API server does: to its Service or URL, trusting its caBundle only, within its time-out.

Next stage: `probe` reports what is wrong.
"""

import contextlib
import http.client
import json
import socket
import ssl
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from probes.admission.webhooks import Webhook, review


@dataclass(frozen=True)
class Asked:
    """What came of it."""

    problem: str
    """Empty if it answered as it must."""
    ms: float
    days_left: float | None = None
    """Of its certificate; None if there was no handshake."""


def ask(webhook: Webhook, address: str, namespace: str) -> Asked:
    """Ask at this address (of its Service, or the URL's host) about an object of its own kind."""
    started = time.perf_counter()
    days: float | None = None
    problem = ""
    try:
        with _shake_hands(webhook, address) as stream:
            shown = stream.getpeercert() or {}
            days = (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86400
            problem = _question(webhook, stream, namespace)
    except ssl.SSLCertVerificationError as error:
        whose = "caBundle does" if webhook.ca_bundle else "authorities of this pod do"
        problem = f"{whose} not vouch for its certificate for {webhook.host}: {error.verify_message.rstrip('.')}"
    except TimeoutError:
        problem = f"no answer within its time-out of {webhook.timeout:g} s"
    except (OSError, http.client.HTTPException) as error:
        problem = f"no answer: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"
    return Asked(problem, (time.perf_counter() - started) * 1000, days)


def _shake_hands(webhook: Webhook, address: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=webhook.ca_bundle or None)
    port = webhook.service[2] if webhook.service else urlsplit(webhook.url).port or 443
    plain = socket.create_connection((address, port), webhook.timeout)
    try:
        return context.wrap_socket(plain, server_hostname=webhook.host)
    except BaseException:
        plain.close()
        raise


def _question(webhook: Webhook, stream: ssl.SSLSocket, namespace: str) -> str:
    """Put the question; what is wrong with the answer, if anything."""
    uid = str(uuid.uuid4())
    body = json.dumps(review(webhook, uid, namespace))
    connection = http.client.HTTPConnection(webhook.host)
    connection.sock = stream
    with contextlib.closing(connection):
        headers = {"Host": webhook.host, "Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", webhook.path, body, headers)
        response = connection.getresponse()
        return what_is_wrong(response.status, response.read(1 << 20), uid, webhook.path)


def what_is_wrong(status: int, body: bytes, uid: str, path: str) -> str:
    """What is wrong with an answer to a review; empty if it is one, whatever it says of the object.

    A webhook may insist on the API server's own certificate (401, 403): then it is there, and more cannot be known.
    """
    if status in (401, 403):
        return ""
    if status != 200:
        return f"status {status} at {path}, expected 200: {body[:120].decode('utf-8', 'replace').strip()}"
    try:
        answered = json.loads(body)["response"]["uid"]
    except (ValueError, LookupError, TypeError):
        return f"its answer is no AdmissionReview: {body[:120].decode('utf-8', 'replace').strip()}"
    return "" if answered == uid else f"its answer is to another question: uid {answered!r}, expected {uid!r}"
