"""Calls a webhook as the API server does: at its Service or URL, trusting only its caBundle, within its time-out."""

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
class CallResult:
    """The result of a call."""

    problem: str
    """Empty if it answered correctly."""
    ms: float
    days_left: float | None = None
    """Days until its certificate expires; None without a handshake."""


def call(webhook: Webhook, address: str, namespace: str) -> CallResult:
    """Call it at this address (of its Service, or the URL's host) with an object of its own kind."""
    started = time.perf_counter()
    days: float | None = None
    problem = ""
    try:
        with _handshake(webhook, address) as stream:
            certificate = stream.getpeercert() or {}
            days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86400
            problem = _send_review(webhook, stream, namespace)
    except ssl.SSLCertVerificationError as error:
        authority = "caBundle does" if webhook.ca_bundle else "authorities of this pod do"
        problem = f"{authority} not vouch for its certificate for {webhook.host}: {error.verify_message.rstrip('.')}"
    except TimeoutError:
        problem = f"no answer within its time-out of {webhook.timeout:g} s"
    except (OSError, http.client.HTTPException) as error:
        problem = f"no answer: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"
    return CallResult(problem, (time.perf_counter() - started) * 1000, days)


def _handshake(webhook: Webhook, address: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=webhook.ca_bundle or None)
    port = webhook.service[2] if webhook.service else urlsplit(webhook.url).port or 443
    plain = socket.create_connection((address, port), webhook.timeout)
    try:
        return context.wrap_socket(plain, server_hostname=webhook.host)
    except BaseException:
        plain.close()
        raise


def _send_review(webhook: Webhook, stream: ssl.SSLSocket, namespace: str) -> str:
    """Send a review; returns the problem with the answer, if any."""
    uid = str(uuid.uuid4())
    body = json.dumps(review(webhook, uid, namespace))
    connection = http.client.HTTPConnection(webhook.host)
    connection.sock = stream
    with contextlib.closing(connection):
        headers = {"Host": webhook.host, "Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", webhook.path, body, headers)
        response = connection.getresponse()
        return response_problem(response.status, response.read(1 << 20), uid, webhook.path)


def response_problem(status: int, body: bytes, uid: str, path: str) -> str:
    """The problem with an answer to a review; empty if it is valid, allowed or not.

    A webhook may require the API server's own certificate (401, 403): then only its existence can be checked.
    """
    if status in (401, 403):
        return ""
    if status != 200:
        return f"status {status} at {path}, expected 200: {body[:120].decode('utf-8', 'replace').strip()}"
    try:
        response_uid = json.loads(body)["response"]["uid"]
    except (ValueError, LookupError, TypeError):
        return f"its answer is no AdmissionReview: {body[:120].decode('utf-8', 'replace').strip()}"
    return "" if response_uid == uid else f"its answer is to another question: uid {response_uid!r}, expected {uid!r}"
