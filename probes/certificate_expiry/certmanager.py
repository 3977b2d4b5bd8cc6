"""cert-manager's Certificates: their conditions, and whether they are renewed in time."""

from datetime import datetime, timedelta
from typing import Any

Json = dict[str, Any]

CERTIFICATES = "/apis/cert-manager.io/v1"
CERTIFICATE_NAME = "cert-manager.io/certificate-name"
"""Annotation of a Secret managed by cert-manager: its Certificate."""
SETTLING = timedelta(minutes=15)
"""How long a Certificate may be not ready, for its challenge and approval."""
OVERDUE = timedelta(hours=1)
"""How late a renewal may be, as issuers take time."""


def name_of(certificate: Json) -> str:
    """`namespace/name`."""
    return f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"


def certificate_of(secret: Json) -> str:
    """The Certificate that a Secret is issued for, as `namespace/name`; empty if cert-manager does not manage it."""
    metadata = secret["metadata"]
    name = (metadata.get("annotations") or {}).get(CERTIFICATE_NAME)
    return f"{metadata['namespace']}/{name}" if name else ""


def problem(certificate: Json, now: datetime, warn_days: float) -> str:
    """Its problem, empty if there is none.

    A Certificate that will be renewed is fine, however short-lived: `warn_days` is for those without a renewal time.
    """
    status = certificate.get("status") or {}
    label = f"certificate {name_of(certificate)}"
    ready: Json = next((one for one in status.get("conditions") or [] if one.get("type") == "Ready"), {})
    ends, renewal = _time(status.get("notAfter")), _time(status.get("renewalTime"))
    if ends is not None and ends <= now:
        return f"{label}: expired on {_day(ends)}{_why(ready)}"
    if ready.get("status") != "True" and not _settles(certificate, ready, now):
        return f"{label}: is not ready{_why(ready) or ': cert-manager has not processed it yet'}"
    if renewal is not None and renewal + OVERDUE < now:
        return f"{label}: should have been renewed on {_day(renewal)}, but was not{_until(ends)}"
    if renewal is None and ends is not None and ends - now < timedelta(days=warn_days):
        return f"{label}: no renewal is planned{_until(ends)} (WARN_DAYS is {warn_days:g})"
    return ""


def _settles(certificate: Json, ready: Json, now: datetime) -> bool:
    """Whether it has been not ready only for a short time, which is not a fault yet."""
    since = _time(ready.get("lastTransitionTime") or certificate["metadata"].get("creationTimestamp"))
    return since is not None and now - since <= SETTLING


def _why(condition: Json) -> str:
    if condition.get("status") == "True" or not condition:
        return ""
    return f": {condition.get('reason', 'no reason given')}: {condition.get('message', '')}".rstrip(": ")


def _until(ends: datetime | None) -> str:
    return f"; it expires on {_day(ends)}" if ends else ""


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")
