"""Translates HTTP responses and connection errors into the errors of `fleet.errors`.

Kubernetes describes an error in a `Status` object (k8s.io/apimachinery `metav1.Status`), some of them
by its message only: those texts are listed here, each from the component of Kubernetes that writes it.
"""

import errno
import os
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from kubeprobe.fleet.errors import Cause, ClusterError, LocalResourceError, cluster_error

_TEXT_LIMIT = 1000
"""Characters of a message that are kept."""
_SEARCHED = 10_000
"""Characters of a message in which the texts below are looked for."""
RETRY_AFTER_LIMIT_S = 300.0
"""The longest `Retry-After` that is honoured: the longest pause of a breaker."""

_BY_CODE = {
    400: Cause.INVALID,
    401: Cause.UNAUTHORIZED,
    404: Cause.NOT_FOUND,
    409: Cause.CONFLICT,
    410: Cause.GONE,
    429: Cause.THROTTLED,
}
_BY_REASON = {
    "AlreadyExists": Cause.ALREADY_EXISTS,
    "Expired": Cause.GONE,
}
# A webhook, a ValidatingAdmissionPolicy, Pod Security. A webhook chooses its own status code.
_DENIED = ("denied the request", "denied request", "violates PodSecurity", "ValidatingAdmissionPolicy")
# The quota is used up; or its usage is not calculated yet, right after it was created.
_QUOTA = ("exceeded quota", "status unknown for quota")
_RBAC = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) '
    r'(?:resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"|path "(?P<path>[^"]+)")'
    r'(?: in the namespace "(?P<namespace>[^"]+)"| at the cluster scope)?'
)
# OpenSSL's X509_V_ERR_* numbers (openssl/x509_vfy.h) that a cluster's owner can fix.
_UNKNOWN_AUTHORITY = "its certificate is signed by an unknown authority; check certificate-authority-data"
_CERTIFICATE = {
    7: "its signature is not that of its authority; if two authorities have the same name and no key identifiers, "
    "leave only the newer one in certificate-authority-data",
    9: "its certificate is not valid yet; compare the clocks",
    10: "its certificate has expired; renew the API server's serving certificate",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    26: "its certificate, or an authority's, is not for servers; issue one with the extended key usage serverAuth",
    62: "its certificate is for another host name; check the server address, or set tls-server-name",
    64: "its certificate is for another address; check the server address, or set tls-server-name",
}


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, socket.EAI_MEMORY}
"""socket(2), connect(2), getaddrinfo(3): errors of this machine; EADDRNOTAVAIL: it has no free port, or no IPv6."""


@dataclass(frozen=True)
class _Refusal:
    """The fields of a `Status` that determine the cause."""

    code: int
    reason: str
    message: str
    kind: str
    """The resource that it is about, e.g. `pods`, `resourcequotas`, `namespaces`."""
    causes: frozenset[str]


def from_response(status: int, body: bytes, *, where: str = "", retry_after: str | None = None) -> ClusterError:
    """The error of a response with a status of 300 or more."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status":
        return from_status({"code": status} | found, where=where, retry_after=retry_after)
    cause, message = _classify_foreign_response(status, body)
    return cluster_error(cause, message, where=where, status=status, retry_after_s=_seconds(retry_after))


def from_status(found: dict[str, Any], *, where: str = "", retry_after: str | None = None) -> ClusterError:
    """The error of a Kubernetes `Status` (the body of a response, or the object of an ERROR event)."""
    details = found.get("details")
    details = details if isinstance(details, dict) else {}
    causes = details.get("causes")
    reason = _text(found, "reason")
    code = found.get("code")
    refusal = _Refusal(
        code=code if type(code) is int and 100 <= code <= 999 else 500,
        reason=reason,
        message=(_text(found, "message") or reason or "the cluster gave no reason")[:_SEARCHED],
        kind=_text(details, "kind"),
        causes=frozenset(_text(cause, "reason") for cause in (causes if isinstance(causes, list) else ())),
    )
    cause, message = _classify(refusal)
    return cluster_error(
        cause, message[:_TEXT_LIMIT], where=where, status=refusal.code, retry_after_s=_seconds(retry_after)
    )


def from_exception(error: Exception, *, where: str = "") -> ClusterError:
    """The error of a failed connection: ClusterUnreachable, or NotSent if it was never begun."""
    found = getattr(error, "os_error", error)
    if isinstance(found, LocalResourceError) or (isinstance(found, OSError) and found.errno in _EXHAUSTED):
        return cluster_error(Cause.NOT_SENT, f"no request was sent: {_os_text(found)}", where=where)
    if isinstance(error, aiohttp.InvalidURL):
        return cluster_error(
            Cause.NOT_SENT, f"no request was sent: its server address is not a URL: {error.url}", where=where
        )
    for kind, explain in _EXPLANATIONS:
        if isinstance(error, kind):
            return cluster_error(Cause.CLUSTER_UNREACHABLE, explain(error), where=where)
    if isinstance(error, ValueError):
        return cluster_error(Cause.NOT_SENT, f"no request was sent: {error}", where=where)
    message = f"the connection failed: {error or type(error).__name__}"
    return cluster_error(Cause.CLUSTER_UNREACHABLE, message, where=where)


def _classify(refusal: _Refusal) -> tuple[Cause, str]:
    """The cause of a refusal, and its message, with what to do next if Kubernetes does not say it."""
    code, message = refusal.code, refusal.message
    if code == 403:
        return _classify_forbidden(refusal)
    if code != 429 and any(mark in message for mark in _DENIED):
        return Cause.ADMISSION_DENIED, message
    if code == 404 and refusal.kind == "namespaces":
        return Cause.NAMESPACE_MISSING, f"{message}; create it, or set another namespace for this cluster"
    if code == 401:
        return Cause.UNAUTHORIZED, f"{message}: the credentials are not accepted; replace them"
    fallback = Cause.SERVER_ERROR if code >= 500 else Cause.INVALID
    return _BY_REASON.get(refusal.reason) or _BY_CODE.get(code, fallback), message


def _classify_forbidden(refusal: _Refusal) -> tuple[Cause, str]:
    """403 has four causes: RBAC, a terminating namespace, a used-up quota, admission."""
    message = refusal.message
    if rbac := _RBAC.search(message):
        what = rbac["path"] or rbac["resource"] + (f".{rbac['group']}" if rbac["group"] else "")
        scope = f"in namespace {rbac['namespace']}" if rbac["namespace"] else "in the whole cluster"
        return Cause.FORBIDDEN, f"{rbac['user']} may not {rbac['verb']} {what} {scope}; grant it by RBAC"
    if "NamespaceTerminating" in refusal.causes or "because it is being terminated" in message:
        return Cause.NAMESPACE_TERMINATING, message
    if any(mark in message for mark in _QUOTA):
        return Cause.QUOTA_EXCEEDED, message
    return Cause.ADMISSION_DENIED, message


def _classify_foreign_response(status: int, body: bytes) -> tuple[Cause, str]:
    """A response without a `Status`: from the API server's outermost handlers, or from a proxy before it."""
    text = " ".join(body[:_TEXT_LIMIT].decode(errors="replace").split())[:200] or "an empty body"
    message = f"HTTP {status}: {text}"
    if status >= 500:
        return Cause.SERVER_ERROR, message
    if status in {401, 429}:
        return _BY_CODE[status], message
    advice = "this is not a response of a Kubernetes API: check the server address and any proxy before it"
    return Cause.CLUSTER_UNREACHABLE, f"{message}; {advice}"


def _text(found: Any, key: str) -> str:
    """A text in an object of a server; empty if it is missing or of another type."""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` as Kubernetes sends it: whole seconds; longer ones are cut to `RETRY_AFTER_LIMIT_S`."""
    if not retry_after or not re.fullmatch("[0-9]+", retry_after):
        return None
    is_long = len(retry_after) > 9 or float(retry_after) > RETRY_AFTER_LIMIT_S
    return RETRY_AFTER_LIMIT_S if is_long else float(retry_after)


def describe_certificate_error(error: ssl.SSLCertVerificationError) -> str:
    """Why a server's certificate is rejected, and what to do."""
    return f"{_CERTIFICATE.get(error.verify_code, 'its certificate is rejected')} ({error.verify_message})"


def _explain_certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    found = error.certificate_error
    if not isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is rejected: {found}"
    return describe_certificate_error(found)


def _explain_tls(error: ssl.SSLError) -> str:
    reason: str | None = getattr(error, "reason", None)  # absent where Python raised it and not OpenSSL
    if reason == "WRONG_VERSION_NUMBER":
        return "TLS failed: the server does not use TLS; is the address http instead of https?"
    return f"TLS failed: {(reason or str(error)).replace('_', ' ').lower()}"


def _os_text(error: OSError) -> str:
    if isinstance(error, LocalResourceError):
        return error.strerror or str(error)
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


# The first matching type is used: subclasses come before their bases.
_EXPLANATIONS: tuple[tuple[type[Exception], Callable[[Any], str]], ...] = (
    (aiohttp.ClientConnectorCertificateError, _explain_certificate),
    (aiohttp.ClientConnectorSSLError, lambda e: _explain_tls(e.os_error)),
    (aiohttp.ClientConnectorDNSError, lambda e: f"the host name {e.host} cannot be resolved: {_os_text(e.os_error)}"),
    (aiohttp.ClientProxyConnectionError, lambda e: f"its proxy cannot be reached: {_os_text(e.os_error)}"),
    (aiohttp.ClientHttpProxyError, lambda e: f"its proxy rejected the connection: HTTP {e.status} {e.message}"),
    (aiohttp.ClientConnectorError, lambda e: f"cannot connect to {e.host}:{e.port}: {_os_text(e.os_error)}"),
    (
        aiohttp.ConnectionTimeoutError,
        lambda _: "the connection timed out; check its address and firewalls",
    ),
    (aiohttp.SocketTimeoutError, lambda _: "the connection was silent for too long"),
    (aiohttp.ServerDisconnectedError, lambda _: "the connection was closed before the response"),
    (TimeoutError, lambda _: "no response within the time limit"),
    (ssl.SSLError, _explain_tls),
)
