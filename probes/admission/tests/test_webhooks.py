import base64
from typing import Any

import pytest

from probes.admission.webhooks import admission_review, ca_problem, parse_webhooks, ready_endpoints
from tests.probes.certificates import Authority

ROOT = Authority.make("root")


def hook(**fields: Any) -> dict[str, Any]:
    service = {"namespace": "shop", "name": "guard", "path": "/judge"}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
    bundle = base64.b64encode(ROOT.pem).decode()
    return {
        "name": "guard.shop.io",
        "clientConfig": {"service": service, "caBundle": bundle},
        "rules": [rule],
        "admissionReviewVersions": ["v1", "v1beta1"],
        **fields,
    }


def webhook(**fields: Any) -> Any:
    configurations = [{"metadata": {"name": "shop"}, "webhooks": [hook(**fields)]}, {"metadata": {"name": "empty"}}]
    [found], errors = parse_webhooks("validating", configurations)
    assert errors == []
    return found


def test_missing_fields_of_a_webhook_have_the_apis_defaults() -> None:
    found = webhook()
    assert (found.timeout, found.fails_closed, found.service) == (10, True, ("shop", "guard", 443))
    assert (found.host, found.path) == ("guard.shop.svc", "/judge")
    assert str(found) == "validating webhook guard.shop.io of shop"


def test_a_webhook_with_a_url_is_called_there() -> None:
    found = webhook(clientConfig={"url": "https://guard.example.com:8443/a/b?c=d"}, failurePolicy="Ignore")
    assert (found.service, found.host, found.path) == (None, "guard.example.com", "/a/b?c=d")
    assert found.consequence == "matching requests are admitted without it (failurePolicy: Ignore)"


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://127.0.0.1:23443/mutate", True),
        ("https://[::1]:5443/", True),
        ("https://localhost:5443/webhook", True),
        ("https://localhost.example.com/", False),
        ("https://10.0.0.1/", False),
    ],
)
def test_a_webhook_on_the_api_servers_own_host_is_recognized(url: str, *, there: bool) -> None:
    assert webhook(clientConfig={"url": url}).is_on_api_server_host is there
    assert webhook().is_on_api_server_host is False


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        ({"caBundle": base64.b64encode(b"nonsense").decode()}, "its caBundle has no readable certificate in PEM"),
        ({}, "it has no caBundle, so the certificate of its Service is not trusted"),
    ],
)
def test_an_unusable_bundle_is_a_problem(client: dict[str, Any], problem: str) -> None:
    service = {"namespace": "shop", "name": "guard"}
    assert ca_problem(webhook(clientConfig={"service": service, **client})) == problem
    assert ca_problem(webhook()) == ca_problem(webhook(clientConfig={"url": "https://a"})) == ""


@pytest.mark.parametrize(
    "client",
    [{"url": "https://[::1"}, {"url": "https://a:99999/"}, {"service": {"name": "guard"}}, {}, {"caBundle": "*"}],
)
def test_a_webhook_that_cannot_be_parsed_is_named_and_hides_no_other(client: dict[str, Any]) -> None:
    configuration = {"metadata": {"name": "shop"}, "webhooks": [hook(clientConfig=client, name="bad.shop.io"), hook()]}
    found, [error] = parse_webhooks("validating", [configuration])
    assert [one.name for one in found] == ["guard.shop.io"]
    assert error.startswith("validating webhook bad.shop.io of shop: cannot be parsed: ")


def test_the_review_is_a_dry_run_of_a_kind_in_the_rules() -> None:
    request = admission_review(webhook(), "u", "kubeprobe")["request"]
    assert request["kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert request["object"]["apiVersion"] == "apps/v1"
    assert (request["uid"], request["dryRun"], request["operation"]) == ("u", True, "CREATE")
    anything = webhook(rules=[{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}])
    assert admission_review(anything, "u", "kubeprobe")["request"]["kind"]["kind"] == "ConfigMap"


def test_only_ready_endpoints_count() -> None:
    slices = [{"endpoints": [{"conditions": {"ready": False}}, {"conditions": {}}, {}]}, {"endpoints": None}]
    assert ready_endpoints(slices) == 2
