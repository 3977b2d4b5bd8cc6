"""The faults that certificate-expiry must detect, on the real cluster."""

import base64
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from probes.certificate_expiry.authorities import AUTHENTICATION, DEFINITIONS
from testbed import pki
from testbed.instance import NODE_ADDRESS, NODE_NAME
from tests.probes.certificates import (
    DAY,
    Authority,
    certificate_of_version_4,
    expiring_certificate,
    tls_secret,
    tls_server,
)
from tests.probes.component_faults import nothing_broken
from tests.probes.scenario import Bed, Fault

Json = dict[str, Any]


@contextmanager
def healthy(bed: Bed) -> Iterator[None]:
    """A TLS Secret that is valid for a long time."""
    with bed.cluster.having("default", "secrets", tls_secret("good", *expiring_certificate(300))):
        yield


@contextmanager
def secret_expired(bed: Bed) -> Iterator[None]:
    """A Secret whose certificate has expired."""
    with bed.cluster.having("default", "secrets", tls_secret("expired", *expiring_certificate(-2, "old"))):
        yield


@contextmanager
def secret_unreadable(bed: Bed) -> Iterator[None]:
    """A Secret that holds no certificate."""
    with bed.cluster.having("kube-system", "secrets", tls_secret("garbage", b"no certificate", b"no key")):
        yield


@contextmanager
def key_of_another_certificate(bed: Bed) -> Iterator[None]:
    """A Secret whose key was renewed, but not its certificate."""
    pem, key = expiring_certificate(300, "web")[0], expiring_certificate(300, "web")[1]
    with bed.cluster.having("default", "secrets", tls_secret("mismatched", pem, key)):
        yield


@contextmanager
def unreadable_beside_ending(bed: Bed) -> Iterator[None]:
    """An X.509 version 4 certificate in the first of two Secrets; the second one has three days left."""
    later = tls_secret("a-later", certificate_of_version_4("later"), b"no key")
    with bed.cluster.having("default", "secrets", later, tls_secret("b-ending", *expiring_certificate(3, "ending"))):
        yield


@contextmanager
def server_expires_soon(bed: Bed) -> Iterator[dict[str, str]]:
    """A TLS server whose certificate has five days left."""
    with tls_server(bed.tmp, *expiring_certificate(5, "server"), host=NODE_ADDRESS) as port:
        yield {"ENDPOINTS": f"{NODE_ADDRESS}:{port}"}


@contextmanager
def kubelet_expires_soon(bed: Bed) -> Iterator[None]:
    """A kubelet whose serving certificate, by the cluster's own authority, has four days left."""
    keys = pki.directory(bed.testbed.instance)
    authority = Authority.read(keys / "ca.crt", keys / "ca.key")
    own = [keys / f"kubelet-server.{kind}" for kind in ("crt", "key")]
    before = [file.read_bytes() for file in own]
    ending = authority.issue((NODE_NAME, NODE_ADDRESS), 4, f"system:node:{NODE_NAME}")
    with _restarted(bed, own, ending, before):
        yield


@contextmanager
def _restarted(bed: Bed, files: list[Path], content: Iterable[bytes], before: list[bytes]) -> Iterator[None]:
    """The kubelet with these files; its previous ones are restored afterwards."""

    def restart_with(what: Iterable[bytes]) -> None:
        bed.testbed.stop("kubelet")
        for file, new in zip(files, what, strict=True):
            file.write_bytes(new)
        bed.testbed.start("kubelet")
        bed.kubectl("wait", f"node/{NODE_NAME}", "--for=condition=Ready", "--timeout=30s")

    restart_with(content)
    try:
        yield
    finally:
        restart_with(before)


def _authority(days: float, name: str) -> str:
    return base64.b64encode(expiring_certificate(days, name)[0]).decode()


def webhook(bundle: str) -> Json:
    """An admission webhook for an API that does not exist, so that it is never called."""
    called = {
        "name": "check.expiry.test",
        "clientConfig": {"url": "https://nowhere.expiry.test/", "caBundle": bundle},
        "rules": [{"apiGroups": ["expiry.test"], "apiVersions": ["v1"], "resources": ["*"], "operations": ["CREATE"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {"metadata": {"name": "expiry-test"}, "webhooks": [called]}


@contextmanager
def webhook_authority_expired(bed: Bed) -> Iterator[None]:
    """An admission webhook whose CA has expired."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    with bed.cluster.having_at(path, webhook(_authority(-2, "policy-ca"))):
        yield


def definition(group: str, kind: str, version: str, conversion: Json | None = None) -> Json:
    """A custom resource that may hold anything."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}]
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    spec = {"group": group, "names": names, "scope": "Namespaced", "versions": versions}
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {**spec, **({"conversion": conversion} if conversion else {})},
    }


@contextmanager
def conversion_authority_ends(bed: Bed) -> Iterator[None]:
    """A custom resource whose conversion webhook's CA has six days left."""
    client = {"url": "https://nowhere.expiry.test/", "caBundle": _authority(6, "conversion-ca")}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}
    with bed.cluster.having_at(DEFINITIONS, definition("expiry.test", "Thing", "v1", conversion)):
        yield


@contextmanager
def aggregated_authority_ends(bed: Bed) -> Iterator[None]:
    """An aggregated API server whose CA has a week left (and which is unavailable)."""
    spec = {
        "group": "metrics.expiry.test",
        "version": "v1",
        "service": {"name": "nowhere", "namespace": "default"},
        "caBundle": _authority(7, "metrics-ca"),
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    service = {"metadata": {"name": "v1.metrics.expiry.test"}, "spec": spec}
    with bed.cluster.having_at("/apis/apiregistration.k8s.io/v1/apiservices", service):
        yield


@contextmanager
def front_proxy_authority_ends(bed: Bed) -> Iterator[None]:
    """The front proxy's CA, as published by the API server, has eight days left."""
    key = "requestheader-client-ca-file"
    before = bed.api.get(AUTHENTICATION)["data"].get(key)
    bed.api.patch(AUTHENTICATION, {"data": {key: expiring_certificate(8, "front-proxy-ca")[0].decode()}})
    try:
        yield
    finally:
        bed.api.patch(AUTHENTICATION, {"data": {key: before}})


@contextmanager
def cert_manager_cannot_issue(bed: Bed) -> Iterator[None]:
    """cert-manager's Certificate, as far as it matters here, that has not been ready for an hour."""
    ready = {"type": "Ready", "status": "False", "reason": "IncorrectIssuer", "message": "no such issuer"}
    ready["lastTransitionTime"] = f"{datetime.now(UTC) - DAY / 24:%Y-%m-%dT%H:%M:%SZ}"
    body = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "web"},
        "status": {"conditions": [ready], "notAfter": f"{datetime.now(UTC) + 80 * DAY:%Y-%m-%dT%H:%M:%SZ}"},
    }
    with bed.cluster.having_at(DEFINITIONS, definition("cert-manager.io", "Certificate", "v1")):
        bed.kubectl("wait", "crd/certificates.cert-manager.io", "--for=condition=Established")
        with bed.cluster.having_at("/apis/cert-manager.io/v1/namespaces/default/certificates", body):
            yield


FAULTS = [
    Fault("a certificate in a Secret has expired", secret_expired, says=r"^secret default/expired: CN=old expired on"),
    Fault(
        "a TLS Secret is unreadable", secret_unreadable, says=r"^secret kube-system/garbage: no readable certificate"
    ),
    Fault(
        "the key of a TLS Secret belongs to another certificate",
        key_of_another_certificate,
        says=r"^secret default/mismatched: its private key \(tls\.key\) does not belong to its certificate CN=web$",
    ),
    Fault(
        "a certificate expires soon beside an unreadable one",
        unreadable_beside_ending,
        says=r"^secret default/b-ending: CN=ending expires on",
    ),
    Fault("a server's certificate expires soon", server_expires_soon, says=r"^endpoint [\d.:]+: CN=server expires on"),
    Fault(
        "the API server's certificate expires too soon",
        nothing_broken,
        says=r"^endpoint 10\.96\.0\.1:443: CN=kube-apiserver \(SAN ",
        parameters={"WARN_DAYS": "100000"},
    ),
    Fault(
        "a kubelet's certificate expires soon",
        kubelet_expires_soon,
        says=r"^kubelet of node node \([\d.:]+\): CN=system:node:node \(SAN .*expires on",
    ),
    Fault(
        "a webhook's CA has expired",
        webhook_authority_expired,
        says=r"^caBundle of validating webhook expiry-test, check.expiry.test: CN=policy-ca expired on",
    ),
    Fault(
        "a conversion webhook's CA expires soon",
        conversion_authority_ends,
        says=r"^caBundle of conversion webhook of things.expiry.test: CN=conversion-ca expires on",
    ),
    Fault(
        "an aggregated API's CA expires soon",
        aggregated_authority_ends,
        says=r"^caBundle of API service v1.metrics.expiry.test: CN=metrics-ca expires on",
    ),
    Fault(
        "the front proxy's CA expires soon",
        front_proxy_authority_ends,
        says=r"^requestheader-client-ca-file in configmap kube-system/\S+: CN=front-proxy-ca expires on",
    ),
    Fault(
        "cert-manager cannot issue",
        cert_manager_cannot_issue,
        says=r"^certificate default/web: is not ready: IncorrectIssuer: no such issuer",
    ),
]
