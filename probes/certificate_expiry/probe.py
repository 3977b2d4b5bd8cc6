"""Finds certificates that run out soon: of TLS endpoints, and in `kubernetes.io/tls` Secrets.

Parameters: WARN_DAYS, ENDPOINTS, NAMESPACES (README.md).
"""

import base64
import binascii
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kubeprobe_client import give_up, main, measure, report_failure, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._parameters import number, words
from probes.certificate_expiry.certificates import Finding, problems, read_der, read_pem
from probes.certificate_expiry.endpoints import EndpointError, parse, serving_certificate

PAGE_SIZE = 100
"""Secrets asked for at once: few enough for small memory, many enough for few requests."""


def look_at_endpoints(endpoints: list[tuple[str, int]]) -> Iterator[Finding]:
    """The serving certificate of each endpoint, or why there is none."""
    for host, port in endpoints:
        place = f"endpoint {host}:{port}"
        try:
            yield read_der(place, serving_certificate(host, port))
        except EndpointError as error:
            yield Finding(place, unreadable=str(error))


def look_at_secrets(api: Api, namespaces: list[str]) -> dict[str, list[Finding]]:
    """The certificates of every TLS Secret by `namespace/name`, in these namespaces or in all."""
    found: dict[str, list[Finding]] = {}
    for path in [f"/api/v1/namespaces/{name}/secrets" for name in namespaces] or ["/api/v1/secrets"]:
        for page in api.pages(path, PAGE_SIZE, fieldSelector="type=kubernetes.io/tls"):
            found |= {_name(secret): read_secret(secret) for secret in page}
    return found


def read_secret(secret: dict[str, Any]) -> list[Finding]:
    """The certificates in a Secret's `tls.crt`, or why there are none."""
    place = f"secret {_name(secret)}"
    try:
        pem = base64.b64decode((secret.get("data") or {}).get("tls.crt", ""), validate=True)
    except binascii.Error as error:
        return [Finding(place, unreadable=f"no readable certificate: {error}")]
    return read_pem(place, pem)


def _name(secret: dict[str, Any]) -> str:
    return f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"


def _endpoints(api: Api) -> list[tuple[str, int]]:
    """The API server and what ENDPOINTS names."""
    try:
        asked = [parse(endpoint) for endpoint in words("ENDPOINTS")]
    except ValueError as error:
        give_up(f"parameter ENDPOINTS: {error}")
    if api.access.tls is None:
        sys.stdout.write(f"API server {api.access.server}: skipped, it speaks plain http\n")
        measure("endpoints_skipped", 1)
        return asked
    return [(api.access.host, api.access.port), *asked]


@main
def probe() -> None:
    """Look at all certificates, then report each that is a problem."""
    warn_days = number("WARN_DAYS", 30)
    with connect() as api:
        endpoints = _endpoints(api)
        with step("endpoints"):
            findings = list(look_at_endpoints(endpoints))
        with step("secrets"):
            try:
                secrets = look_at_secrets(api, words("NAMESPACES"))
            except ApiError as error:
                give_up_if_forbidden(error)
                raise
    findings += [finding for chain in secrets.values() for finding in chain]

    now = datetime.now(UTC)
    days = [left for finding in findings if (left := finding.days_left(now)) is not None]
    measure("endpoints_checked", len(endpoints))
    measure("secrets_checked", len(secrets))
    measure("certificates_checked", len(days))
    if days:
        measure("days_to_first_expiry", round(min(days), 2))
    wrong = problems(findings, now, warn_days)
    if wrong:
        report_failure(wrong)
