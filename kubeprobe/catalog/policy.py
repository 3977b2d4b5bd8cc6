"""What templates may do to a cluster's nodes, and which images they may use: closed, but for what settings allow.

Checked when a catalog is planned and applied, and again when a pod is rendered: settings may have changed meanwhile.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubeprobe.catalog.model import ProbeCaseSpec, ProbeTemplateSpec, RenderConfigSpec, Spec
from kubeprobe.catalog.problems import shorten
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet.environment import is_loader_variable
from kubeprobe.settings import Settings

ANY = "*"
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")
ALLOWED_CAPABILITY = "NET_BIND_SERVICE"
"""The one that the `restricted` Pod Security Standard admits."""
_SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
"""Those that the `baseline` Pod Security Standard admits."""
_PROFILE_ANNOTATIONS = {
    "container.apparmor.security.beta.kubernetes.io/": "appArmorProfile Unconfined",
    "container.seccomp.security.alpha.kubernetes.io/": "seccompProfile Unconfined",
    "seccomp.security.alpha.kubernetes.io/": "seccompProfile Unconfined",
}
"""Prefixes of the annotations that set profiles before the fields existed; API servers may still honour them."""
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_DEFAULT_REGISTRY = "docker.io"


class PolicyError(KubeProbeError):
    """A pod that the installation's policy does not allow."""


@dataclass(frozen=True)
class TemplatePolicy:
    """What templates may do. The default allows what the built-in probes need, if no source declares them."""

    host_access: frozenset[str] = frozenset(Settings.model_fields["template_host_access"].default)
    """Templates that may reach their node: NAME, or SOURCE/NAME for one that a source declares; `*`: all."""
    registries: tuple[str, ...] = ()
    """Allowed prefixes of images; empty: any."""
    needs_digests: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "TemplatePolicy":
        """The policy of an installation."""
        hosts, registries = settings.template_host_access, settings.template_registries
        return cls(frozenset(hosts), registries, settings.template_digests)

    def refusals(
        self, template: str, source: str | None, pod: Mapping[str, Any], annotations: Mapping[str, str]
    ) -> list[str]:
        """What in a template's PodSpec and annotations is not allowed: `WHAT: what is allowed (setting)`."""
        name = f"{source}/{template}" if source else template
        found = []
        demands = host_demands(pod, annotations)
        if demands and not {name, ANY} & self.host_access:
            expected = f"only for templates that KUBEPROBE_TEMPLATE_HOST_ACCESS lists: {name}"
            found.append(f"{', '.join(demands)}: {expected}")
        for image in dict.fromkeys(_images(pod)):
            if self.registries and not any(_is_below(image, prefix) for prefix in self.registries):
                allowed = ", ".join(self.registries)
                found.append(f"image {shorten(image)}: one below {allowed} (KUBEPROBE_TEMPLATE_REGISTRIES)")
            if self.needs_digests and not _DIGEST.search(image):
                found.append(f"image {shorten(image)}: one with @sha256:DIGEST (KUBEPROBE_TEMPLATE_DIGESTS)")
        return found


DEFAULT_POLICY = TemplatePolicy()


def host_demands(pod: Mapping[str, Any], annotations: Mapping[str, str]) -> list[str]:
    """What in a pod may harm its node, such as `hostPath volumes`; each once.

    This is all beyond the `baseline` Pod Security Standard, and also the capabilities and sysctls that it admits.
    """
    return list(dict.fromkeys((*_demands(pod), *_annotated_demands(annotations))))


def _demands(pod: Mapping[str, Any]) -> Iterator[str]:
    yield from (field for field in _HOST_FIELDS if pod.get(field))
    if any("hostPath" in volume for volume in pod.get("volumes") or ()):
        yield "hostPath volumes"
    security = pod.get("securityContext") or {}
    if security.get("sysctls"):
        yield "sysctls"
    yield from _security_demands(security)
    for container in containers_of(pod):
        yield from _security_demands(container.get("securityContext") or {})
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield "host ports"
        if any(handler.get("host") for handler in _handlers(container)):
            yield "a host in a probe or lifecycle hook, which the kubelet connects to"


def _handlers(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the kubelet connects to, from the node's network."""
    lifecycle = container.get("lifecycle") or {}
    actions = (*map(container.get, _PROBES), *map(lifecycle.get, _HOOKS))
    return (action.get(field) or {} for action in filter(None, actions) for field in ("httpGet", "tcpSocket"))


def _annotated_demands(annotations: Mapping[str, str]) -> Iterator[str]:
    for key, value in annotations.items():
        if value == "unconfined" and key.startswith(tuple(_PROFILE_ANNOTATIONS)):
            yield next(demand for prefix, demand in _PROFILE_ANNOTATIONS.items() if key.startswith(prefix))


def _security_demands(security: Mapping[str, Any]) -> Iterator[str]:
    capabilities = (security.get("capabilities") or {}).get("add") or ()
    yield from (f"capability {name}" for name in capabilities if name != ALLOWED_CAPABILITY)
    if security.get("privileged"):
        yield "privileged"
    if security.get("procMount") not in {None, "Default"}:
        yield "procMount"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    selinux = security.get("seLinuxOptions") or {}
    if selinux.get("user") or selinux.get("role") or selinux.get("type") not in _SELINUX_TYPES:
        yield "seLinuxOptions"
    for profile in ("seccompProfile", "appArmorProfile"):
        if (security.get(profile) or {}).get("type") == "Unconfined":
            yield f"{profile} Unconfined"


def containers_of(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All containers of a PodSpec."""
    for field in ("initContainers", "containers"):
        yield from pod.get(field) or ()


def _images(pod: Mapping[str, Any]) -> Iterator[str]:
    for container in containers_of(pod):
        if image := container.get("image"):
            yield image
    for volume in pod.get("volumes") or ():
        if reference := (volume.get("image") or {}).get("reference"):
            yield reference


def _is_below(image: str, prefix: str) -> bool:
    """Whether an image is in a registry, or in a part of it. `busybox` is docker.io/library/busybox."""
    full, wanted = _qualified(image), prefix.rstrip("/")
    if "/" not in wanted:  # a host: with a port it is another registry
        return full.startswith(f"{wanted}/")
    return full == wanted or full.startswith((f"{wanted}/", f"{wanted}:", f"{wanted}@"))


def _qualified(image: str) -> str:
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return image
    return f"{_DEFAULT_REGISTRY}/{image}" if slash else f"{_DEFAULT_REGISTRY}/library/{image}"


def loader_variables(names: Iterable[str]) -> list[str]:
    """Those of the names that make a probe's program load other code: PATH too, as its image has the right one."""
    return sorted(name for name in names if name == "PATH" or is_loader_variable(name))


def environments_of(spec: Spec) -> Iterator[tuple[tuple[str | int, ...], Iterable[str]]]:
    """The path of each mapping or list of variables in a spec, and their names."""
    if isinstance(spec, ProbeCaseSpec):
        yield ("parameters",), spec.parameters
    elif isinstance(spec, RenderConfigSpec):
        yield ("values",), spec.values
        for number, override in enumerate(spec.overrides):
            yield ("overrides", number, "values"), override.values
    elif isinstance(spec, ProbeTemplateSpec):
        yield ("env",), spec.env
        yield from _environments_of_pod(spec.pod, "initContainers")
        yield from _environments_of_pod(spec.pod, "containers")


def _environments_of_pod(pod: Mapping[str, Any], field: str) -> Iterator[tuple[tuple[str | int, ...], Iterable[str]]]:
    for number, container in enumerate(pod.get(field) or ()):
        yield ("pod", field, number, "env"), [variable["name"] for variable in container.get("env") or ()]
