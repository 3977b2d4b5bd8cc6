"""Quotas, policies and webhooks that refuse requests, in the probes' namespace only. For scenarios."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

from probes._api import Api, ApiError
from testbed.instance import NODE_ADDRESS
from tests.harness.wait import until
from tests.probes.certificates import Authority
from tests.probes.http_servers import Request, Response, http_server
from tests.probes.paths import NAMESPACE, Json
from tests.probes.scenario import Bed

_REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
_DRY_RUN = {"tests.kubeprobe.io/dry-run": "yes"}
_IN_THE_PROBES_NAMESPACE = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
_COLLECTIONS = {"configmaps": f"/api/v1/namespaces/{NAMESPACE}/configmaps", "namespaces": "/api/v1/namespaces"}
_EXISTING = {"configmaps": "kube-root-ca.crt", "namespaces": "default"}


@contextmanager
def quota(bed: Bed, name: str, **hard: str) -> Iterator[None]:
    """While this ResourceQuota is in force; `count_configmaps` stands for `count/configmaps`.

    Waits for the end of earlier runs' pods, which would count.
    """
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    until("the pods of earlier runs to be gone", lambda: not bed.api.get(pods)["items"], within_s=90)
    body = {"metadata": {"name": name}, "spec": {"hard": {key.replace("_", "/"): value for key, value in hard.items()}}}
    with bed.cluster.having(NAMESPACE, "resourcequotas", body):
        path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/{name}"
        until("the quota's status", lambda: bed.api.get(path).get("status", {}).get("hard"))
        yield


@contextmanager
def denying_policy(bed: Bed, resource: str, operation: str, message: str) -> Iterator[None]:
    """While a ValidatingAdmissionPolicy denies this operation."""
    name = f"no-{operation.lower()}-of-{resource}"
    where = {} if resource == "namespaces" else {"namespaceSelector": _IN_THE_PROBES_NAMESPACE}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [_rule(resource, operation)], **where},
            "validations": [{"expression": "false", "message": message}],
        },
    }
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    with (
        bed.cluster.having_at(f"{_REGISTRATION}/validatingadmissionpolicies", policy),
        bed.cluster.having_at(f"{_REGISTRATION}/validatingadmissionpolicybindings", binding),
    ):
        _wait_until_refused(bed, resource, operation)
        yield
    _wait_until_allowed(bed, resource, operation)


@contextmanager
def webhook_without_endpoints(bed: Bed, resource: str, operation: str) -> Iterator[None]:
    """While this operation calls a webhook without endpoints and with `failurePolicy: Fail`."""
    service = {
        "metadata": {"name": "no-endpoints"},
        "spec": {"ports": [{"port": 443}], "selector": {"app": "no-endpoints"}},
    }
    webhook = {
        "name": f"{resource}.no-endpoints.example.com",
        "clientConfig": {"service": {"namespace": NAMESPACE, "name": "no-endpoints"}},
        "rules": [_rule(resource, operation)],
        "namespaceSelector": _IN_THE_PROBES_NAMESPACE,
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    configuration = {"metadata": {"name": "no-endpoints"}, "webhooks": [webhook]}
    with (
        bed.cluster.having(NAMESPACE, "services", service),
        bed.cluster.having_at(f"{_REGISTRATION}/validatingwebhookconfigurations", configuration),
    ):
        _wait_until_refused(bed, resource, operation)
        yield
    _wait_until_allowed(bed, resource, operation)


@contextmanager
def webhook_that_adds_a_finalizer(bed: Bed, resource: str, finalizer: str, selector: Json) -> Iterator[None]:
    """While a webhook adds a finalizer to created objects that match `selector` (a webhook's selector).

    The caller must remove the finalizers.
    """
    authority = Authority.make("webhooks of the tests")
    pem = b"".join(authority.issue((NODE_ADDRESS,)))
    with http_server(lambda received: _add_finalizer(received, finalizer), NODE_ADDRESS, pem) as port:
        client = {"url": f"https://{NODE_ADDRESS}:{port}/", "caBundle": base64.b64encode(authority.pem).decode()}
        configuration = {
            "metadata": {"name": "adds-finalizer"},
            "webhooks": [
                _webhook("adds-finalizer", client, resource, selector),
                _webhook("dry-run", client, "configmaps", {"objectSelector": {"matchLabels": _DRY_RUN}}),
            ],
        }
        with bed.cluster.having_at(f"{_REGISTRATION}/mutatingwebhookconfigurations", configuration):
            until("the webhook to be called", lambda: _is_finalized(bed.api))
            yield


def _webhook(name: str, client: Json, resource: str, selector: Json) -> Json:
    return {
        "name": f"{name}.example.com",
        "clientConfig": client,
        "rules": [_rule(resource, "CREATE")],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **selector,
    }


def _add_finalizer(received: Request, finalizer: str) -> Response:
    """Allow the request and add a finalizer to the object."""
    request = json.loads(received.body)["request"]
    patch = [{"op": "add", "path": "/metadata/finalizers", "value": [finalizer]}]
    response = {
        "uid": request["uid"],
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return Response(body=json.dumps(review).encode(), headers={"Content-Type": "application/json"})


def _is_finalized(api: Api) -> bool:
    body = {"metadata": {"name": "dry-run", "labels": _DRY_RUN}}
    return bool(api.create(f"{_COLLECTIONS['configmaps']}?dryRun=All", body)["metadata"].get("finalizers"))


def _rule(resource: str, operation: str) -> Json:
    return {
        "apiGroups": [""],
        "apiVersions": ["*"],
        "operations": [operation],
        "resources": [resource],
    }


def _wait_until_refused(bed: Bed, resource: str, operation: str) -> None:
    """Wait until the API server has loaded new policies and webhooks."""
    until(f"{operation} of {resource} to be refused", lambda: not _is_allowed(bed.api, resource, operation))


def _wait_until_allowed(bed: Bed, resource: str, operation: str) -> None:
    until(f"{operation} of {resource} to be allowed", lambda: _is_allowed(bed.api, resource, operation))


def _is_allowed(api: Api, resource: str, operation: str) -> bool:
    """Check with a dry run, which includes all of admission."""
    collection = _COLLECTIONS[resource]
    existing = f"{collection}/{_EXISTING[resource]}"
    try:
        match operation:
            case "CREATE":
                api.create(f"{collection}?dryRun=All", {"metadata": {"name": "dry-run"}})
            case "UPDATE":
                api.patch(f"{existing}?dryRun=All", {"metadata": {"annotations": {"example.com/dry-run": "now"}}})
            case _:
                api.delete(existing, dryRun=["All"])  # a DELETE with a body ignores its query
    except ApiError:
        return False
    return True
