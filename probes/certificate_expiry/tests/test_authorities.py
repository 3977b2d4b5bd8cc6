import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from probes.certificate_expiry import authorities, certmanager
from tests.probes.certificates import expiring_certificate

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Json = dict[str, Any]


def bundle(*days: float) -> str:
    return base64.b64encode(b"".join(expiring_certificate(left, f"ca-{left:g}")[0] for left in days)).decode()


def test_a_bundle_is_valid_as_long_as_its_last_ca() -> None:
    webhook = {"name": "check.test", "clientConfig": {"caBundle": bundle(-5, 200)}}
    [finding] = authorities.of_webhooks("mutating", [{"metadata": {"name": "policies"}, "webhooks": [webhook]}])
    assert (finding.source, finding.subject) == ("caBundle of mutating webhook policies, check.test", "CN=ca-200")


def test_a_webhook_without_a_bundle_uses_the_systems_cas() -> None:
    webhook = {"name": "check.test", "clientConfig": {}}
    assert list(authorities.of_webhooks("mutating", [{"metadata": {"name": "a"}, "webhooks": [webhook]}])) == []
    assert list(authorities.of_conversions([{"metadata": {"name": "a"}, "spec": {}}])) == []


def test_a_bundle_that_is_not_a_certificate_is_reported() -> None:
    [finding] = authorities.of_aggregated([{"metadata": {"name": "v1.a"}, "spec": {"caBundle": "bm90IGEgY2VydA=="}}])
    assert finding.source == "caBundle of API service v1.a"
    assert finding.unreadable.startswith("no readable certificate: ")


def test_the_api_servers_published_cas_are_named_by_key() -> None:
    data = {"client-ca-file": expiring_certificate(300)[0].decode(), "requestheader-allowed-names": "[]"}
    [finding] = authorities.of_authentication({"data": data})
    assert finding.source == "client-ca-file in configmap kube-system/extension-apiserver-authentication"


WEB = "certificate shop/web"
UNSEEN = "cert-manager has not processed it yet"
READY = {"type": "Ready", "status": "True"}
REFUSED = {"type": "Ready", "status": "False", "reason": "DoesNotExist", "message": "the issuer is missing"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"conditions": [READY], "notAfter": "2026-11-28T00:00:00Z", "renewalTime": "2026-11-27T00:00:00Z"}, ""),
        ({"conditions": [READY], "notAfter": "2027-11-28T00:00:00Z"}, ""),
        ({}, "certificate shop/web: is not ready: cert-manager has not processed it yet"),
        ({"conditions": [REFUSED]}, "certificate shop/web: is not ready: DoesNotExist: the issuer is missing"),
        (
            {"conditions": [REFUSED], "notAfter": "2026-11-24T00:00:00Z"},
            "certificate shop/web: expired on 2026-11-24 00:00 UTC: DoesNotExist: the issuer is missing",
        ),
        (
            {"conditions": [READY], "notAfter": "2026-12-30T00:00:00Z", "renewalTime": "2026-11-25T08:00:00Z"},
            f"{WEB}: should have been renewed on 2026-11-25 08:00 UTC, but was not; it expires on 2026-12-30 00:00 UTC",
        ),
        (
            {"conditions": [READY], "notAfter": "2026-12-10T00:00:00Z"},
            "certificate shop/web: no renewal is planned; it expires on 2026-12-10 00:00 UTC (WARN_DAYS is 30)",
        ),
    ],
)
def test_cert_manager_certificates_are_judged_by_their_status(status: Json, expected: str) -> None:
    body = {"metadata": {"namespace": "shop", "name": "web"}, "status": status}
    assert certmanager.problem(body, NOW, 30) == expected


def new(created: str, *conditions: Json) -> Json:
    """A Certificate that has not been issued yet."""
    metadata = {"namespace": "shop", "name": "web", "creationTimestamp": created}
    return {"metadata": metadata, "status": {"conditions": list(conditions)}}


def test_a_new_certificate_has_time_to_become_ready() -> None:
    assert certmanager.problem(new("2026-11-25T11:59:50Z"), NOW, 30) == ""
    assert certmanager.problem(new("2026-11-25T11:44:59Z"), NOW, 30) == f"{WEB}: is not ready: {UNSEEN}"


def test_the_time_to_become_ready_starts_again_when_a_certificate_becomes_unready() -> None:
    since = [{**REFUSED, "lastTransitionTime": f"2026-11-25T{time}:00Z"} for time in ("11:50", "11:40")]
    assert certmanager.problem(new("2026-01-01T00:00:00Z", since[0]), NOW, 30) == ""
    problem = certmanager.problem(new("2026-01-01T00:00:00Z", since[1]), NOW, 30)
    assert problem == f"{WEB}: is not ready: DoesNotExist: the issuer is missing"


def test_an_expired_certificate_has_no_time_to_become_ready() -> None:
    body = new("2026-01-01T00:00:00Z", {**REFUSED, "lastTransitionTime": "2026-11-25T11:59:00Z"})
    body["status"]["notAfter"] = "2026-11-25T11:59:00Z"
    assert certmanager.problem(body, NOW, 30).startswith(f"{WEB}: expired on 2026-11-25 11:59 UTC")
