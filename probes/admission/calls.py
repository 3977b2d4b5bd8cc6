"""Calls a webhook as the API server does: at its Service or URL, trusting only its caBundle, within its time-out."""

import json
import socket
import ssl
import time
import uuid
from dataclasses import dataclass

from probes._http import Exchange, HttpError, Stream
from probes._trust import wrap_socket
from probes.admission.webhooks import Webhook, admission_review

MAX_RESPONSE_BYTES = 3 << 20
"""As etcd's and the API server's own limit on a request; a longer response is invalid."""
_EXCERPT = 120  # characters of a response in an error


@dataclass(frozen=True)
class CallResult:
    """The result of a call."""

    problem: str
    """Empty if the response is valid."""
    ms: float
    days_left: float | None = None
    """Days until its certificate expires; None without a handshake."""


def call(webhook: Webhook, address: str, namespace: str) -> CallResult:
    """Call it at this address (of its Service, or the URL's host) with an object of its own kind."""
    started = time.perf_counter()
    days: float | None = None
    problem = ""
    try:
        with _connect(webhook, address) as secure:
            certificate = secure.getpeercert() or {}
            days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86400
            problem = _send_review(webhook, secure, namespace)
    except ssl.SSLCertVerificationError as error:
        authorities = "its caBundle" if webhook.ca_bundle else "this pod's system CAs"
        reason = error.verify_message.rstrip(".")
        problem = f"its certificate for {webhook.host} is not trusted by {authorities}: {reason}"
    except TimeoutError:
        problem = f"no response within its time-out of {webhook.timeout:g} s"
    except HttpError as error:
        problem = str(error)
    except (OSError, ValueError) as error:  # ValueError: an invalid host name, or no readable certificate in caBundle
        problem = f"no response: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"
    return CallResult(problem, (time.perf_counter() - started) * 1000, days)


def _connect(webhook: Webhook, address: str) -> ssl.SSLSocket:
    def connect() -> socket.socket:
        return socket.create_connection((address, webhook.port), webhook.timeout)

    return wrap_socket(connect, webhook.ca_bundle or None, webhook.host)


def _send_review(webhook: Webhook, secure: ssl.SSLSocket, namespace: str) -> str:
    """Send a review; returns the problem with the response, if any. The whole response counts for the time-out."""
    uid = str(uuid.uuid4())
    body = json.dumps(admission_review(webhook, uid, namespace)).encode()
    headers = [("Host", webhook.host), ("Content-Type", "application/json"), ("Connection", "close")]
    exchange = Exchange("POST", webhook.path, headers, body)
    stream = Stream(secure, webhook.timeout)
    stream.send(exchange.request)
    head = exchange.read_head(stream.receive)
    response = exchange.read_body(stream.receive, MAX_RESPONSE_BYTES + 1)
    return response_problem(head.status, response, uid, webhook.path)


def response_problem(status: int, body: bytes, uid: str, path: str) -> str:
    """The problem with a response to a review; empty if it is valid, allowed or not.

    A webhook may require the API server's own certificate (401, 403): then only its existence can be checked.
    """
    excerpt = body[:_EXCERPT].decode("utf-8", "replace").strip()
    if status in (401, 403):
        return ""
    if status != 200:
        return f"status {status} at {path}, expected 200: {excerpt}"
    if len(body) > MAX_RESPONSE_BYTES:
        return f"response of more than {MAX_RESPONSE_BYTES} bytes: {excerpt}"
    try:
        response_uid = json.loads(body)["response"]["uid"]
    except (ValueError, LookupError, TypeError, RecursionError):  # RecursionError: nested too deeply
        return f"invalid AdmissionReview: {excerpt}"
    if response_uid != uid:
        return f"response for another request: uid {str(response_uid)[:_EXCERPT]!r}, expected {uid!r}"
    return ""
