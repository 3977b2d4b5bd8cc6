"""Secrets and Certificates in combination."""

from datetime import UTC, datetime
from typing import Any

import pytest

from probes._access import Access
from probes._api import Api
from probes.certificate_expiry.probe import Inspection, kubelets
from tests.probes.certificates import DAY, certificate, certificate_of_version_4, tls_secret
from tests.probes.scripted import ScriptedApi, scripted_api

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Json = dict[str, Any]


def connected(server: ScriptedApi) -> Api:
    return Api(Access(f"http://127.0.0.1:{server.server_port}"))


def kept_by_cert_manager(days: float, pem: bytes = b"") -> Json:
    """A Secret of the Certificate `shop/web` that expires in `days`."""
    secret = tls_secret("web-tls", *certificate("web", NOW - 3 * DAY, NOW + days * DAY))
    if pem:
        secret = tls_secret("web-tls", pem, b"")
    secret["metadata"] |= {"namespace": "shop", "annotations": {"cert-manager.io/certificate-name": "web"}}
    return secret


def issued(name: str = "web") -> Json:
    """A healthy Certificate that is valid for a day."""
    ready = {"type": "Ready", "status": "True"}
    status = {"conditions": [ready], "notAfter": "2026-11-26T00:00:00Z", "renewalTime": "2026-11-25T18:00:00Z"}
    return {"metadata": {"namespace": "shop", "name": name}, "status": status}


def problems(secret: Json, *certificates: Json, selected: str = "cert-manager") -> list[str]:
    """The problems of a Secret and these Certificates, at `NOW`."""
    answers = [(200, {"items": [secret]}), (200, {"items": certificates})]
    with scripted_api(*answers) as server, connected(server) as api:
        inspection = Inspection(api, NOW, 30)
        inspection.secrets()
        inspection.check_selected([selected])
        return inspection.collect()


def test_a_short_lived_secret_is_fine_while_its_certificate_is_renewed() -> None:
    assert problems(kept_by_cert_manager(0.5), issued()) == []


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (kept_by_cert_manager(-1), "secret shop/web-tls: CN=web expired on"),
        (kept_by_cert_manager(1, b"no certificate"), "secret shop/web-tls: no readable certificate"),
    ],
)
def test_an_expired_secret_is_reported_even_if_its_certificate_is_fine(secret: Json, expected: str) -> None:
    [problem] = problems(secret, issued())
    assert problem.startswith(expected)


def test_a_secret_whose_certificate_was_deleted_is_not_renewed() -> None:
    [problem] = problems(kept_by_cert_manager(0.5), issued("other"))
    assert problem.startswith("secret shop/web-tls: CN=web expires on")


def test_a_secret_is_checked_by_its_expiry_if_certificates_are_not_checked() -> None:
    [problem] = problems(kept_by_cert_manager(0.5), issued(), selected="none")
    assert problem.startswith("secret shop/web-tls: CN=web expires on")


def test_one_unreadable_secret_hides_no_other() -> None:
    later = tls_secret("later", certificate_of_version_4("later"), b"")
    ending = tls_secret("ending", *certificate("web", NOW - DAY, NOW + 3 * DAY))
    for secret in (later, ending):
        secret["metadata"]["namespace"] = "shop"
    with scripted_api((200, {"items": [later, ending]})) as server, connected(server) as api:
        inspection = Inspection(api, NOW, 30)
        inspection.secrets()
        first, second = inspection.collect()
    assert first.startswith("secret shop/later: no readable certificate: ")
    assert second.startswith("secret shop/ending: CN=web expires on 2026-11-28")


def test_a_certificate_resource_with_an_invalid_time_hides_no_other() -> None:
    invalid, overdue = issued("invalid"), issued("overdue")
    invalid["status"]["notAfter"] = "soon"
    overdue["status"]["renewalTime"] = "2026-11-25T01:00:00Z"
    first, second = problems(kept_by_cert_manager(0.5), invalid, overdue, issued())
    assert first.startswith("certificate shop/invalid: its status cannot be parsed: ")
    assert second.startswith("certificate shop/overdue: should have been renewed")


@pytest.mark.parametrize("status", [403, 500])
def test_a_list_that_cannot_be_read_hides_no_finding(status: int) -> None:
    refusal = {"message": 'cannot list resource "secrets" in API group ""', "reason": "Forbidden"}
    overdue = issued() | {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Denied"}]}}
    with scripted_api((status, refusal), (200, {"items": [overdue]})) as server, connected(server) as api:
        inspection = Inspection(api, NOW, 30)
        with inspection.check("secrets"):
            inspection.secrets()
        inspection.check_selected(["cert-manager"])
    assert inspection.collect() == ["certificate shop/web: is not ready: Denied"]
    missing = ["permission missing: list secrets at the cluster scope"]
    assert (inspection.unchecked, inspection.failed) == ((missing, False) if status == 403 else ([], True))


def node(name: str, **conditions: str) -> Json:
    """A node with these conditions."""
    listed = [{"type": kind, "status": status} for kind, status in conditions.items()]
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "10.0.0.7"}]
    return {"metadata": {"name": name}, "status": {"addresses": addresses, "conditions": listed}}


def test_only_kubelets_of_ready_nodes_are_checked() -> None:
    nodes = [
        node("up", MemoryPressure="True", Ready="True"),
        node("down", Ready="Unknown"),
        node("leaving", MemoryPressure="True", Ready="False"),
        node("joining"),
    ]
    with scripted_api((200, {"items": nodes})) as server, connected(server) as api:
        assert list(kubelets(api)) == [("kubelet of node up (10.0.0.7:10250)", "10.0.0.7", 10250)]
