"""The faults that admission must detect: a real webhook with a Service, called by the API server, and its faults.

The webhook denies ConfigMaps that are labelled as bad. It is called only for those with the tests' label.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from probes._api import ApiError
from testbed.instance import NODE_ADDRESS
from tests.harness.wait import until
from tests.probes.certificates import Authority
from tests.probes.http_servers import Request, Response, http_server
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault, State

Json = dict[str, Any]
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
CONFIGURATIONS = f"{REGISTRATION}/validatingwebhookconfigurations"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
NAME, WEBHOOK = "guard", "guard.tests.kubeprobe.io"
HOST = f"{NAME}.{NAMESPACE}.svc"
LABEL = "tests.kubeprobe.io/judged"
MIDDLE = Authority.make("intermediate of the tests", Authority.make("root of the tests"))
"""The caBundle has the intermediate only, as the API server accepts it."""


def sample(name: str, verdict: str) -> str:
    """A ConfigMap for which the webhook is called."""
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {LABEL: verdict}}})


@dataclass
class Guard:
    """The webhook's settings, which faults change."""

    delay_s: float = 0.0
    admits_all: bool = False
    certificate: bytes = b"".join(MIDDLE.issue((HOST,)))
    ended: threading.Event = field(default_factory=threading.Event)
    """Set at the end of a fault: delayed responses are not waited for any more."""

    def answer(self, received: Request) -> Response:
        """Answer the review of one object."""
        request = json.loads(received.body)["request"]
        self.ended.wait(self.delay_s)
        labels = request["object"]["metadata"].get("labels") or {}
        allowed = self.admits_all or labels.get(LABEL) != "bad"
        response: Json = {"uid": request["uid"], "allowed": allowed, "status": {"message": "it is bad"}}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        return Response(body=json.dumps(review).encode(), headers={"Content-Type": "application/json"})


GUARD = Guard()


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """The webhook on the node, its Service, and its configuration."""
    with (
        http_server(GUARD.answer, NODE_ADDRESS, lambda: GUARD.certificate) as port,
        bed.cluster.having(NAMESPACE, "services", {"metadata": {"name": NAME}, "spec": {"ports": [{"port": 443}]}}),
        bed.cluster.having_at(SLICES, _endpoint(port)),
        bed.cluster.having_at(CONFIGURATIONS, _configuration()),
    ):
        until("the API server to call the webhook", lambda: _denies(bed))
        yield {"DENIED": sample("bad", "bad"), "DENIED_BY": WEBHOOK, "ALLOWED": sample("good", "good")}


def _endpoint(port: int) -> Json:
    return {
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
        "ports": [{"port": port, "protocol": "TCP"}],
    }


def _configuration() -> Json:
    service = {"namespace": NAMESPACE, "name": NAME, "path": "/judge"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    hook = {
        "name": WEBHOOK,
        "clientConfig": {"service": service, "caBundle": _bundle(MIDDLE)},
        "rules": [rule],
        "objectSelector": {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
    }
    return {"metadata": {"name": NAME}, "webhooks": [hook]}


def _bundle(authority: Authority) -> str:
    return base64.b64encode(authority.pem).decode()


def _denies(bed: Bed) -> bool:
    """Whether the API server has loaded the configuration and reaches the webhook."""
    return "it is bad" in _refusal_of(bed, "bad")


def _refusal_of(bed: Bed, verdict: str) -> str:
    """The API server's refusal of such a ConfigMap; empty if it accepts it."""
    try:
        bed.api.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps?dryRun=All", json.loads(sample("try", verdict)))
    except ApiError as error:
        return str(error)
    return ""


def _guard_with(**changes: Any) -> State:
    """While the webhook has these settings."""

    @contextmanager
    def changed(_bed: Bed) -> Iterator[None]:
        before = {name: getattr(GUARD, name) for name in changes}
        _set({**changes, "ended": threading.Event()})
        try:
            yield
        finally:
            GUARD.ended.set()
            _set(before)

    return changed


def _set(changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(GUARD, name, value)


@contextmanager
def no_endpoint(bed: Bed) -> Iterator[None]:
    """The webhook's Service has no endpoint."""
    with _patched(bed, f"{SLICES}/{NAME}", lambda piece: piece.update(endpoints=[])):
        yield


@contextmanager
def wrong_bundle(bed: Bed) -> Iterator[None]:
    """The configuration trusts another CA: the webhook's certificate was renewed by a new one."""
    bundle = _bundle(Authority.make("another"))

    def change(configuration: Json) -> None:
        configuration["webhooks"][0]["clientConfig"]["caBundle"] = bundle

    with _patched(bed, f"{CONFIGURATIONS}/{NAME}", change):
        until("the API server to distrust the webhook", lambda: "failed calling webhook" in _refusal_of(bed, "good"))
        yield


@contextmanager
def _patched(bed: Bed, path: str, change: Callable[[Json], None]) -> Iterator[None]:
    """While an object is changed; it is restored afterwards."""
    before = bed.api.get(path)
    changed = json.loads(json.dumps(before))
    change(changed)
    bed.api.replace(path, changed)
    try:
        yield
    finally:
        version = bed.api.get(path)["metadata"]["resourceVersion"]
        before["metadata"]["resourceVersion"] = version
        bed.api.replace(path, before)
        until("the webhook to be called again", lambda: _denies(bed))


@contextmanager
def denied_by_policy(bed: Bed) -> Iterator[None]:
    """A ValidatingAdmissionPolicy denies what must be accepted."""
    name = "nothing-good"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "objectSelector": {"matchLabels": {LABEL: "good"}}},
            "validations": [{"expression": "false", "message": "nothing is good enough"}],
        },
    }
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    with (
        bed.cluster.having_at(f"{REGISTRATION}/validatingadmissionpolicies", policy),
        bed.cluster.having_at(f"{REGISTRATION}/validatingadmissionpolicybindings", binding),
    ):
        until("the policy to be in force", lambda: "nothing is good enough" in _refusal_of(bed, "good"))
        yield


HOOK = rf"^webhooks: validating webhook {WEBHOOK} of {NAME}: "

FAULTS = [
    Fault(
        "the webhook's Service has no endpoint",
        no_endpoint,
        says=HOOK + rf"its Service {NAMESPACE}/{NAME} has no ready endpoint; .*rejected \(failurePolicy: Fail\)",
    ),
    Fault(
        "the webhook does not respond", _guard_with(delay_s=60), says=HOOK + r"no response within its time-out of 1 s"
    ),
    Fault(
        "the webhook is slow",
        _guard_with(delay_s=0.35),
        says=r"^allowed: ConfigMap good was accepted after \d+ ms, expected at most 300 ms",
        parameters={"MAX_MS": "300"},
    ),
    Fault(
        "the caBundle has another CA",
        wrong_bundle,
        says=HOOK + rf"its certificate for {HOST} is not trusted by its caBundle: unable to get",
    ),
    Fault(
        "the webhook's certificate has expired",
        _guard_with(certificate=b"".join(MIDDLE.issue((HOST,), days=-1))),
        says=HOOK + rf"its certificate for {HOST} is not trusted by its caBundle: certificate has expired",
    ),
    Fault(
        "the webhook admits everything",
        _guard_with(admits_all=True),
        says=r"^denied: ConfigMap bad was accepted, expected a denial \(DENIED\)",
    ),
    Fault(
        "a policy denies what must be accepted",
        denied_by_policy,
        says=r"^allowed: ConfigMap good was rejected by policy nothing-good, expected to be accepted",
    ),
]
