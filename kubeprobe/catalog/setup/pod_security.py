"""Whether a pod complies with the `restricted` Pod Security Standard, as far as a template can violate it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/. Next: `objects` labels the namespace with it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
"""From the laxest to the strictest."""
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")


def is_restricted(spec: Mapping[str, Any]) -> bool:
    """Whether a pod complies with `restricted`."""
    return not violations(spec)


def violations(spec: Mapping[str, Any]) -> list[str]:
    """What in a PodSpec does not comply, such as `hostPID`; each once."""
    return list(dict.fromkeys(_violations(spec)))


def _violations(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from (key for key in _HOST_FIELDS if spec.get(key))
    if any("hostPath" in volume for volume in spec.get("volumes") or ()):
        yield "hostPath volumes"
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        yield from _container_violations(container.get("securityContext") or {}, spec.get("securityContext") or {})


def _container_violations(security: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    capabilities = security.get("capabilities") or {}
    if security.get("privileged"):
        yield "privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if added := sorted(set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}):
        yield f"capabilities {', '.join(added)}"
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities that are not dropped"
    as_root = security.get("runAsUser", pod.get("runAsUser")) == 0
    if as_root or security.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "root"
