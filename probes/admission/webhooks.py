"""The configured admission webhooks, and problems of their configuration. Pure."""

import base64
import binascii
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

DEFAULT_TIMEOUT = 10
"""The API server's default `timeoutSeconds` (admissionregistration.k8s.io/v1)."""
_KINDS = {"pods": "Pod", "configmaps": "ConfigMap", "services": "Service", "deployments": "Deployment"}


@dataclass(frozen=True)
class Webhook:
    """One webhook of one configuration."""

    kind: str
    """`validating` or `mutating`."""
    configuration: str
    name: str
    fails_closed: bool
    """Whether requests are refused if it does not answer (failurePolicy Fail)."""
    timeout: float
    """Seconds."""
    ca_bundle: str
    """PEM; if empty, the API server uses its system's CAs."""
    service: tuple[str, str, int] | None
    """Namespace, name, port."""
    url: str
    """Its address if it is not a Service."""
    path: str
    version: str
    """The version of AdmissionReview: the first that it supports."""
    resource: Json
    """Group, version, resource and kind of an object in its rules."""

    def __str__(self) -> str:
        return f"{self.kind} webhook {self.name} of {self.configuration}"

    @property
    def host(self) -> str:
        """The name that its certificate must have."""
        if self.service:
            return f"{self.service[1]}.{self.service[0]}.svc"
        return urlsplit(self.url).hostname or ""

    @property
    def is_beside_the_api_server(self) -> bool:
        """Whether it is on the API server's own host, where pods cannot reach it (EKS and GKE have such webhooks)."""
        try:
            return not self.service and (self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback)
        except ValueError:
            return False

    @property
    def consequence(self) -> str:
        """The consequence for users if it does not answer."""
        if self.fails_closed:
            return "requests that it is asked about are refused (failurePolicy: Fail)"
        return "requests pass unchecked (failurePolicy: Ignore)"


def read(kind: str, configurations: list[Json]) -> Iterator[Webhook]:
    """The webhooks of these configurations."""
    for configuration in configurations:
        for hook in configuration.get("webhooks") or []:
            yield _webhook(kind, configuration["metadata"]["name"], hook)


def ca_problem(webhook: Webhook) -> str:
    """What is wrong with a caBundle by itself; empty if there is nothing."""
    if webhook.ca_bundle and "BEGIN CERTIFICATE" not in webhook.ca_bundle:
        return "its caBundle holds no certificate in PEM"
    if not webhook.ca_bundle and webhook.service:
        return "it has no caBundle: nobody vouches for a Service's certificate"
    return ""


def ready_endpoints(slices: list[Json]) -> int:
    """The number of a Service's ready endpoints."""
    return sum(
        (endpoint.get("conditions") or {}).get("ready") is not False
        for endpoint_slice in slices
        for endpoint in endpoint_slice.get("endpoints") or []
    )


def review(webhook: Webhook, uid: str, namespace: str) -> Json:
    """An AdmissionReview as the API server sends it, about an object that is not created."""
    resource = webhook.resource
    version = f"{resource['group']}/{resource['version']}" if resource["group"] else resource["version"]
    meta = {"name": "kubeprobe-admission", "namespace": namespace}
    group_version = {"group": resource["group"], "version": resource["version"]}
    return {
        "apiVersion": f"admission.k8s.io/{webhook.version}",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {**group_version, "kind": resource["kind"]},
            "resource": {**group_version, "resource": resource["resource"]},
            "requestKind": {**group_version, "kind": resource["kind"]},
            "requestResource": {**group_version, "resource": resource["resource"]},
            "name": meta["name"],
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "kubeprobe", "groups": ["system:authenticated"]},
            "object": {"apiVersion": version, "kind": resource["kind"], "metadata": meta},
            "oldObject": None,
            "dryRun": True,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions", "dryRun": ["All"]},
        },
    }


def _webhook(kind: str, configuration: str, hook: Json) -> Webhook:
    client = hook.get("clientConfig") or {}
    service = client.get("service")
    return Webhook(
        kind=kind,
        configuration=configuration,
        name=hook["name"],
        fails_closed=hook.get("failurePolicy", "Fail") == "Fail",
        timeout=float(hook.get("timeoutSeconds") or DEFAULT_TIMEOUT),
        ca_bundle=_pem(client.get("caBundle") or ""),
        service=(service["namespace"], service["name"], service.get("port") or 443) if service else None,
        url=client.get("url") or "",
        path=(service.get("path") or "/") if service else _target(client.get("url") or ""),
        version=(hook.get("admissionReviewVersions") or ["v1"])[0],
        resource=_resource(hook.get("rules") or []),
    )


def _pem(bundle: str) -> str:
    try:
        return base64.b64decode(bundle).decode("ascii", "replace")
    except binascii.Error:
        return bundle


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _resource(rules: list[Json]) -> Json:
    """A kind of the rules; a ConfigMap if the rules name no known kind."""
    for rule in rules:
        for resource in rule.get("resources") or []:
            if resource in _KINDS:
                group, version = rule["apiGroups"][0], rule["apiVersions"][0]
                if "*" not in (group, version):
                    return {"group": group, "version": version, "resource": resource, "kind": _KINDS[resource]}
    return {"group": "", "version": "v1", "resource": "configmaps", "kind": "ConfigMap"}
