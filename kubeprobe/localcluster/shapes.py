"""Type checks of an object's fields, as in the real server's decoder: a number is not a string.

Pure. Covers metadata, pods, secrets and config maps as far as users write them; everything else may be anything.
Messages are the decoder's own, Go types included, because users search for them.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeprobe.localcluster.errors import bad_request
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.quantities import parse_quantity
from kubeprobe.localcluster.resources import CONFIG_MAPS, PODS, SECRETS, Resource


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a field. `go` is its type in Go; `fields` are a struct's, `items` a list's or map's."""

    kind: str
    go: str
    fields: "Mapping[str, Shape]" = field(default_factory=dict)
    items: "Shape | None" = None
    complete: bool = False
    """Whether `fields` is complete, so that strict validation refuses others."""


ANY = Shape("any", "")
TEXT = Shape("string", "string")
WHOLE = Shape("number", "int64")
SHORT = Shape("number", "int32")
FLAG = Shape("bool", "bool")
TEXTS = Shape("array", "[]string", items=TEXT)
TEXT_MAP = Shape("object", "map[string]string", items=TEXT)
QUANTITY = Shape("quantity", "resource.Quantity")
QUANTITIES = Shape("object", "v1.ResourceList", items=QUANTITY)
BYTES = Shape("base64", "[]uint8")
BYTES_MAP = Shape("object", "map[string][]uint8", items=BYTES)


def _struct(go_name: str, /, *, complete: bool = False, **fields: Shape) -> Shape:
    return Shape("object", f"v1.{go_name}", fields=fields, complete=complete)


def _list(items: Shape) -> Shape:
    return Shape("array", f"[]{items.go}", items=items)


def _anything(names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), ANY)


METADATA = _struct(
    "ObjectMeta",
    name=TEXT,
    generateName=TEXT,
    namespace=TEXT,
    labels=TEXT_MAP,
    annotations=TEXT_MAP,
    finalizers=TEXTS,
    ownerReferences=_list(_struct("OwnerReference", name=TEXT, uid=TEXT, kind=TEXT, apiVersion=TEXT)),
)
_VARIABLE = _struct("EnvVar", complete=True, name=TEXT, value=TEXT, valueFrom=_struct("EnvVarSource"))
_MOUNT = _struct("VolumeMount", name=TEXT, mountPath=TEXT, subPath=TEXT, readOnly=FLAG)
_RESOURCES = _struct("ResourceRequirements", complete=True, limits=QUANTITIES, requests=QUANTITIES, claims=ANY)
_CONTAINER = _struct(
    "Container",
    complete=True,
    name=TEXT,
    image=TEXT,
    command=TEXTS,
    args=TEXTS,
    workingDir=TEXT,
    env=_list(_VARIABLE),
    envFrom=_list(_struct("EnvFromSource", prefix=TEXT)),
    volumeMounts=_list(_MOUNT),
    resources=_RESOURCES,
    imagePullPolicy=TEXT,
    terminationMessagePath=TEXT,
    terminationMessagePolicy=TEXT,
    restartPolicy=TEXT,
    stdin=FLAG,
    tty=FLAG,
    **_anything(
        "ports livenessProbe readinessProbe startupProbe lifecycle securityContext stdinOnce volumeDevices "
        "resizePolicy restartPolicyRules"
    ),
)
_POD_SPEC = _struct(
    "PodSpec",
    complete=True,
    containers=_list(_CONTAINER),
    initContainers=_list(_CONTAINER),
    volumes=_list(_struct("Volume", name=TEXT)),
    restartPolicy=TEXT,
    terminationGracePeriodSeconds=WHOLE,
    activeDeadlineSeconds=WHOLE,
    serviceAccountName=TEXT,
    serviceAccount=TEXT,
    automountServiceAccountToken=FLAG,
    nodeName=TEXT,
    nodeSelector=TEXT_MAP,
    priority=SHORT,
    priorityClassName=TEXT,
    hostNetwork=FLAG,
    enableServiceLinks=FLAG,
    **_anything(
        "affinity dnsConfig dnsPolicy ephemeralContainers hostAliases hostIPC hostPID hostUsers hostname "
        "hostnameOverride imagePullSecrets os overhead preemptionPolicy readinessGates resourceClaims resources "
        "runtimeClassName schedulerName schedulingGates securityContext setHostnameAsFQDN shareProcessNamespace "
        "subdomain tolerations topologySpreadConstraints workloadRef"
    ),
)
_SHAPES: dict[Resource, Shape] = {
    PODS: _struct("Pod", metadata=METADATA, spec=_POD_SPEC),
    SECRETS: _struct("Secret", metadata=METADATA, data=BYTES_MAP, stringData=TEXT_MAP, type=TEXT),
    CONFIG_MAPS: _struct("ConfigMap", metadata=METADATA, data=TEXT_MAP, binaryData=BYTES_MAP, immutable=FLAG),
}
_QUANTITY_RULE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def decoded(resource: Resource, obj: Any, *, strict: bool = False) -> Object:
    """The object as the server decodes it.

    Raises `ApiError` (400) for a field of a wrong type, or (if `strict`) an unknown one.
    """
    shape = _SHAPES.get(resource) or _struct(resource.kind, metadata=METADATA)
    fault = next(_type_faults(obj, shape, shape, ""), "")
    if not fault and strict:
        unknown = ", ".join(f'unknown field "{path}"' for path in _unknown_fields(obj, shape, ""))
        fault = f"strict decoding error: {unknown}" if unknown else ""
    if fault:
        of = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise bad_request(f"{of}: {fault}")
    known: Object = without_nulls(obj, shape) if resource in _SHAPES else obj
    return known


def without_nulls(value: Any, shape: Shape) -> Any:
    """The value with nulls decoded as in Go: absent fields, and zero values in lists."""
    if isinstance(value, dict):
        return {
            name: without_nulls(item, shape.items or shape.fields.get(name, ANY))
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        items = shape.items or ANY
        empty = {} if items.kind == "object" else ""
        return [empty if item is None else without_nulls(item, items) for item in value]
    return value


def _type_faults(value: Any, shape: Shape, owner: Shape, path: str) -> Iterator[str]:
    """The decoder's errors for a value; `owner` is the struct it is a field of."""
    if value is None or shape.kind == "any":
        return
    if shape.kind in ("quantity", "base64"):
        yield from _text_faults(value, shape)
        return
    found = _json_kind(value)
    if found != shape.kind:
        at = f"{owner.go.removeprefix('v1.')}.{path}"
        yield f"json: cannot unmarshal {found} into Go struct field {at} of type {shape.go}"
        return
    inner = owner if shape.items else shape
    for name, item in _members(value):
        expected = shape.items or shape.fields.get(name, ANY)
        below = path if shape.items else f"{path}.{name}".lstrip(".")
        yield from _type_faults(item, expected, inner, below)


def _text_faults(value: Any, shape: Shape) -> Iterator[str]:
    try:
        if shape.kind == "quantity":
            parse_quantity(value)
        else:
            base64.b64decode(value, validate=True)
    except (ValueError, TypeError, binascii.Error):
        if shape.kind == "quantity":
            yield _QUANTITY_RULE
        else:
            good = re.match(r"[A-Za-z0-9+/]*", str(value))
            yield f"illegal base64 data at input byte {good.end() if good else 0}"


def _unknown_fields(value: Any, shape: Shape, path: str) -> Iterator[str]:
    for name, item in _members(value):
        if shape.complete and name not in shape.fields:
            yield f"{path}.{name}".lstrip(".")
        expected = shape.items or shape.fields.get(name, ANY)
        if expected is not ANY:
            below = f"{path}[{name}]" if isinstance(value, list) else f"{path}.{name}".lstrip(".")
            yield from _unknown_fields(item, expected, below)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(index), item) for index, item in enumerate(value))


def _json_kind(value: Any) -> str:
    kinds = {bool: "bool", int: "number", float: "number", str: "string", dict: "object", list: "array"}
    return kinds[type(value)]
