"""A container's environment, command and arguments, from the pod's spec.

Nothing is inherited from this process. Paths inside the container (termination message, mounts) do not
exist on this machine, so they are replaced by the real ones wherever they occur as a whole path.
"""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.quantities import parse_quantity
from kubeprobe.localcluster.resources import CONFIG_MAPS, SECRETS
from kubeprobe.localcluster.store import Store

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")
_ADDRESSES = ("status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


class ConfigError(Exception):
    """The container cannot be configured yet: an object or key it refers to is missing."""


def resolve_environment(store: Store, pod: Object, container: Object, base: Mapping[str, str]) -> dict[str, str]:
    """All variables of a container. Raises `ConfigError` for a missing secret, config map or key."""
    namespace = pod["metadata"]["namespace"]
    env = dict(base)
    for source in container.get("envFrom") or ():
        env.update(_whole_source(store, namespace, source))
    declared: dict[str, str] = {}
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            value = _value_from(store, pod, container, variable["valueFrom"])
        else:
            value = expand(str(variable.get("value") or ""), {**env, **declared})
        if value is not None:
            declared[variable["name"]] = value
    return {**env, **declared}


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; unknown names stay, and $$ becomes $."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return env.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def path_replacer(paths: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces paths of the container by those of this machine, longest first."""
    if not paths:
        return lambda text: text
    longest_first = sorted(paths, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])")
    return lambda text: pattern.sub(lambda found: paths[found[1]], text)


def _whole_source(store: Store, namespace: str, source: Object) -> dict[str, str]:
    prefix = source.get("prefix", "")
    if "secretRef" in source:
        data = secret_data(store, namespace, source["secretRef"])
        return {prefix + key: value.decode(errors="replace") for key, value in data.items()}
    data_of_map = config_map_data(store, namespace, source.get("configMapRef") or {})
    return {prefix + key: value.decode(errors="replace") for key, value in data_of_map.items()}


def secret_data(store: Store, namespace: str, reference: Object) -> dict[str, bytes]:
    """A secret's content. Raises `ConfigError` when it is missing and not optional."""
    stored = store.get(SECRETS, namespace, reference.get("name") or reference.get("secretName", ""))
    if stored is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'secret "{reference.get("name") or reference.get("secretName")}" not found')
    return {key: b64decode(value) for key, value in (stored.object.get("data") or {}).items()}


def config_map_data(store: Store, namespace: str, reference: Object) -> dict[str, bytes]:
    """A config map's content. Raises `ConfigError` when it is missing and not optional."""
    stored = store.get(CONFIG_MAPS, namespace, reference.get("name", ""))
    if stored is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'configmap "{reference.get("name")}" not found')
    texts = {key: value.encode() for key, value in (stored.object.get("data") or {}).items()}
    binaries = {key: b64decode(value) for key, value in (stored.object.get("binaryData") or {}).items()}
    return {**texts, **binaries}


def _value_from(store: Store, pod: Object, container: Object, source: Object) -> str | None:
    namespace = pod["metadata"]["namespace"]
    for field, read, kind in (
        ("secretKeyRef", secret_data, "Secret"),
        ("configMapKeyRef", config_map_data, "ConfigMap"),
    ):
        if field in source:
            reference = source[field]
            data = read(store, namespace, reference)
            if reference["key"] in data:
                return data[reference["key"]].decode(errors="replace")
            if reference.get("optional"):
                return None
            raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
    if "resourceFieldRef" in source:
        return _resource_field(container, source["resourceFieldRef"])
    return pod_field(pod, (source.get("fieldRef") or {}).get("fieldPath", ""))


def pod_field(pod: Object, path: str) -> str:
    """The value of a field of the pod, as the downward API gives it."""
    if found := _SUBSCRIPT.match(path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in _ADDRESSES:
        return "127.0.0.1"
    value: Any = pod
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _resource_field(container: Object, reference: Object) -> str:
    kind, _, name = reference["resource"].partition(".")
    amount = parse_quantity(((container.get("resources") or {}).get(kind) or {}).get(name, 0))
    divisor = parse_quantity(reference.get("divisor") or 1)
    return str(math.ceil(amount / (divisor or 1)))
