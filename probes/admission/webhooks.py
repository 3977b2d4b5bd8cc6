"""The configured admission webhooks, and problems of their configuration."""

import base64
import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from probes._trust import tls_context

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
    ca_bundle: bytes
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
    def port(self) -> int:
        """The port of its Service or URL."""
        return self.service[2] if self.service else urlsplit(self.url).port or 443

    @property
    def is_on_api_server_host(self) -> bool:
        """Whether it is on the API server's own host, where pods cannot reach it (EKS and GKE have such webhooks)."""
        try:
            return not self.service and (self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback)
        except ValueError:
            return False

    @property
    def consequence(self) -> str:
        """The consequence for users if it does not answer."""
        if self.fails_closed:
            return "matching requests are rejected (failurePolicy: Fail)"
        return "matching requests are admitted without it (failurePolicy: Ignore)"


def parse_webhooks(kind: str, configurations: list[Json]) -> tuple[list[Webhook], list[str]]:
    """The webhooks of these configurations, and an error for each that cannot be parsed."""
    webhooks, errors = [], []
    for configuration in configurations:
        name = configuration["metadata"]["name"]
        for hook in configuration.get("webhooks") or []:
            try:
                webhooks.append(_webhook(kind, name, hook))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                errors.append(f"{kind} webhook {hook.get('name', '')} of {name}: cannot be parsed: {error}")
    return webhooks, errors


def ca_problem(webhook: Webhook) -> str:
    """What is wrong with a caBundle by itself; empty if there is nothing."""
    if webhook.ca_bundle:
        try:
            tls_context(webhook.ca_bundle)
        except ValueError as error:
            return f"its caBundle has {error}"
    elif webhook.service:
        return "it has no caBundle, so the certificate of its Service is not trusted"
    return ""


def ready_endpoints(slices: list[Json]) -> int:
    """The number of a Service's ready endpoints."""
    return sum(
        (endpoint.get("conditions") or {}).get("ready") is not False
        for endpoint_slice in slices
        for endpoint in endpoint_slice.get("endpoints") or []
    )


def admission_review(webhook: Webhook, uid: str, namespace: str) -> Json:
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
    webhook = Webhook(
        kind=kind,
        configuration=configuration,
        name=hook["name"],
        fails_closed=hook.get("failurePolicy", "Fail") == "Fail",
        timeout=float(hook.get("timeoutSeconds") or DEFAULT_TIMEOUT),
        ca_bundle=base64.b64decode(client.get("caBundle") or ""),
        service=(service["namespace"], service["name"], service.get("port") or 443) if service else None,
        url=client.get("url") or "",
        path=(service.get("path") or "/") if service else _target(client.get("url") or ""),
        version=(hook.get("admissionReviewVersions") or ["v1"])[0],
        resource=_resource(hook.get("rules") or []),
    )
    if not (webhook.host and webhook.port):  # .port raises ValueError for an invalid number
        raise ValueError(f"expected a Service, or a URL such as https://guard.example.com/, not {webhook.url!r}")
    return webhook


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
