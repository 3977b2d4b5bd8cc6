"""The Pod Security Standard that pods comply with; `policy` finds what may be beyond `baseline`.

https://kubernetes.io/docs/concepts/security/pod-security-standards/. Next: `objects` labels the namespace with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubeprobe.catalog.policy import containers_of, host_demands
from kubeprobe.catalog.render import pod_spec_of
from kubeprobe.catalog.snapshot import Catalog

ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
"""From the laxest to the strictest."""
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"} | {"secret"}
)
_PROFILES = {"RuntimeDefault", "Localhost"}
_BASELINE_CAPABILITIES = {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"} | {
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
_BASELINE_DEMANDS = frozenset(f"capability {name}" for name in _BASELINE_CAPABILITIES)
_BASELINE_SYSCTLS = frozenset(
    {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"}
    | {"net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"}
)
"""Those that all versions admit, without the ones that 1.27 and 1.29 added: an older cluster would reject the pods."""


@dataclass(frozen=True)
class PodSecurity:
    """What in a pod does not comply with the two standards, such as `hostPID`; each once."""

    beyond_baseline: tuple[str, ...]
    beyond_restricted: tuple[str, ...]
    """Without those of `beyond_baseline`."""

    @property
    def level(self) -> str:
        """The strictest standard that the pod complies with."""
        return "privileged" if self.beyond_baseline else "baseline" if self.beyond_restricted else "restricted"

    def violations(self, level: str | None) -> tuple[str, ...]:
        """What a namespace that enforces this level rejects; None: nothing."""
        if level == "restricted":
            return (*self.beyond_baseline, *self.beyond_restricted)
        return self.beyond_baseline if level == "baseline" else ()


def pod_security(pod: Mapping[str, Any], annotations: Mapping[str, str]) -> PodSecurity:
    """Judge a PodSpec and the annotations of its pod."""
    demands = host_demands(pod, annotations)
    sysctls = (pod.get("securityContext") or {}).get("sysctls") or ()
    are_safe = all(sysctl.get("name") in _BASELINE_SYSCTLS for sysctl in sysctls)
    admitted = _BASELINE_DEMANDS | ({"sysctls"} if are_safe else set())
    capabilities = [demand for demand in demands if demand in _BASELINE_DEMANDS]
    return PodSecurity(
        tuple(demand for demand in demands if demand not in admitted),
        tuple(dict.fromkeys((*capabilities, *_beyond_restricted(pod)))),
    )


def security_of(catalog: Catalog, case: str) -> PodSecurity:
    """Judge a case's pods. Raises CatalogNotFoundError and CatalogUnreadableError."""
    return pod_security(pod_spec_of(catalog, case), catalog.template(catalog.case(case).template).annotations)


def strictest_level(found: Iterable[PodSecurity]) -> str:
    """The strictest standard that all pods comply with."""
    return LEVELS[min((LEVELS.index(each.level) for each in found), default=len(LEVELS) - 1)]


def _beyond_restricted(pod: Mapping[str, Any]) -> Iterator[str]:
    types = {key for volume in pod.get("volumes") or () for key in volume if key != "name" and volume[key] is not None}
    yield from (f"{kind} volumes" for kind in sorted(types - _VOLUMES - {"hostPath"}))
    security = pod.get("securityContext") or {}
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield "root"  # even if each container has other values
    for container in containers_of(pod):
        yield from _container(container.get("securityContext") or {}, security)


def _container(security: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in ((security.get("capabilities") or {}).get("drop") or ()):
        yield "capabilities that are not dropped"
    non_root = security.get("runAsNonRoot")
    if security.get("runAsUser") == 0 or (pod.get("runAsNonRoot") if non_root is None else non_root) is not True:
        yield "root"
    profile = security.get("seccompProfile") or pod.get("seccompProfile") or {}
    if profile.get("type") not in {*_PROFILES, "Unconfined"}:  # that one is beyond `baseline`
        yield "no seccompProfile"
