import base64
from typing import Any

import pytest

from probes.admission.webhooks import ca_problem, read, ready_endpoints, review


def hook(**fields: Any) -> dict[str, Any]:
    service = {"namespace": "shop", "name": "guard", "path": "/judge"}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
    bundle = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()
    return {
        "name": "guard.shop.io",
        "clientConfig": {"service": service, "caBundle": bundle},
        "rules": [rule],
        "admissionReviewVersions": ["v1", "v1beta1"],
        **fields,
    }


def webhook(**fields: Any) -> Any:
    [found] = read(
        "validating", [{"metadata": {"name": "shop"}, "webhooks": [hook(**fields)]}, {"metadata": {"name": "empty"}}]
    )
    return found


def test_missing_fields_of_a_webhook_have_the_apis_defaults() -> None:
    found = webhook()
    assert (found.timeout, found.fails_closed, found.service) == (10, True, ("shop", "guard", 443))
    assert (found.host, found.path) == ("guard.shop.svc", "/judge")
    assert str(found) == "validating webhook guard.shop.io of shop"


def test_a_webhook_with_a_url_is_called_there() -> None:
    found = webhook(clientConfig={"url": "https://guard.example.com:8443/a/b?c=d"}, failurePolicy="Ignore")
    assert (found.service, found.host, found.path) == (None, "guard.example.com", "/a/b?c=d")
    assert "unchecked" in found.consequence


@pytest.mark.parametrize(
    ("url", "beside"),
    [
        ("https://127.0.0.1:23443/mutate", True),
        ("https://[::1]:5443/", True),
        ("https://localhost:5443/webhook", True),
        ("https://localhost.example.com/", False),
        ("https://10.0.0.1/", False),
    ],
)
def test_a_webhook_on_the_api_servers_own_host_is_recognized(url: str, *, beside: bool) -> None:
    assert webhook(clientConfig={"url": url}).is_beside_the_api_server is beside
    assert webhook().is_beside_the_api_server is False


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        ({"caBundle": base64.b64encode(b"nonsense").decode()}, "its caBundle holds no certificate in PEM"),
        ({}, "it has no caBundle: nobody vouches for a Service's certificate"),
    ],
)
def test_an_unusable_bundle_is_a_problem(client: dict[str, Any], problem: str) -> None:
    service = {"namespace": "shop", "name": "guard"}
    assert ca_problem(webhook(clientConfig={"service": service, **client})) == problem
    assert ca_problem(webhook()) == ca_problem(webhook(clientConfig={"url": "https://a"})) == ""


def test_the_review_is_a_dry_run_of_a_kind_in_the_rules() -> None:
    request = review(webhook(), "u", "kubeprobe")["request"]
    assert request["kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert request["object"]["apiVersion"] == "apps/v1"
    assert (request["uid"], request["dryRun"], request["operation"]) == ("u", True, "CREATE")
    anything = webhook(rules=[{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}])
    assert review(anything, "u", "kubeprobe")["request"]["kind"]["kind"] == "ConfigMap"


def test_only_ready_endpoints_count() -> None:
    slices = [{"endpoints": [{"conditions": {"ready": False}}, {"conditions": {}}, {}]}, {"endpoints": None}]
    assert ready_endpoints(slices) == 2
