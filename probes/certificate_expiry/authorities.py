"""The CAs with which the API server verifies others: webhooks, conversions, aggregated APIs, and its own proxies.

When one expires, requests fail far from the cause: `x509: certificate has expired` at every create.

"""

import base64
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from probes.certificate_expiry.certificates import Finding, read_pem

Json = dict[str, Any]

AUTHENTICATION = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
"""The ConfigMap with the CAs that aggregated API servers must trust."""
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def of_webhooks(kind: str, configurations: Iterable[Json]) -> Iterator[Finding]:
    """The CAs of admission webhooks; `kind` is `validating` or `mutating`."""
    for configuration in configurations:
        for webhook in configuration.get("webhooks") or []:
            source = f"{kind} webhook {configuration['metadata']['name']}, {webhook['name']}"
            yield from _bundle(source, webhook["clientConfig"].get("caBundle"))


def of_conversions(definitions: Iterable[Json]) -> Iterator[Finding]:
    """The CAs of webhooks that convert custom resources between versions."""
    for definition in definitions:
        webhook = (definition["spec"].get("conversion") or {}).get("webhook") or {}
        source = f"conversion webhook of {definition['metadata']['name']}"
        yield from _bundle(source, (webhook.get("clientConfig") or {}).get("caBundle"))


def of_aggregated(services: Iterable[Json]) -> Iterator[Finding]:
    """The CAs of aggregated API servers."""
    for service in services:
        yield from _bundle(f"API service {service['metadata']['name']}", service["spec"].get("caBundle"))


def of_authentication(published: Json) -> Iterator[Finding]:
    """The CAs of clients and of the aggregation's front proxy."""
    for key in ("client-ca-file", "requestheader-client-ca-file"):
        pem = (published.get("data") or {}).get(key)
        if pem:
            yield longest_lived(
                read_pem(f"{key} in configmap kube-system/extension-apiserver-authentication", pem.encode())
            )


def longest_lived(bundle: list[Finding]) -> Finding:
    """The last CA of a bundle to expire: old ones stay in it during a renewal, and Go skips unreadable ones."""
    never = datetime.min.replace(tzinfo=UTC)
    return max(bundle, key=lambda finding: finding.not_after or never)


def _bundle(source: str, encoded: str | None) -> Iterator[Finding]:
    if not encoded:
        return  # the system's CAs are used
    try:
        pem = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        yield Finding(f"caBundle of {source}", unreadable=f"no readable certificate: {error}")
        return
    yield longest_lived(read_pem(f"caBundle of {source}", pem))
