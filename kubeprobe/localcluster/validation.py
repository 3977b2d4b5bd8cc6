"""Validation of objects: names, labels, and common faults of pods.

Pure; messages are those of the real API server. `registry` turns them into 422 responses.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from kubeprobe.localcluster.definitions import faults_of_definition
from kubeprobe.localcluster.errors import Cause
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.quantities import parse_quantity
from kubeprobe.localcluster.resources import CONFIG_MAPS, CRDS, NAMESPACES, PODS, SECRETS, SERVICES, Resource

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_QUALIFIED_NAME = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_NAMED_BY_LABEL = {NAMESPACES, SERVICES}
_PATH_NAMED_GROUP = "rbac.authorization.k8s.io"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")


def required(field: str, message: str = "") -> Cause:
    """A required field is missing."""
    return Cause("FieldValueRequired", f"Required value{': ' if message else ''}{message}", field)


def malformed(field: str, value: Any, rule: str) -> Cause:
    """A field's value violates a rule."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {rule}", field)


def unsupported(field: str, value: Any, supported: tuple[str, ...]) -> Cause:
    """A field's value is not in a closed list."""
    listed = ", ".join(f'"{item}"' for item in sorted(supported))
    return Cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {listed}', field)


def faults_of(resource: Resource, obj: Object) -> list[Cause]:
    """All faults of an object that is to be created or updated."""
    faults = list(_metadata_faults(resource, obj["metadata"]))
    if resource is PODS:
        faults += _pod_faults(obj.get("spec") or {})
    elif resource is CRDS:
        faults += faults_of_definition(obj)
    return faults


def _metadata_faults(resource: Resource, metadata: Object) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif resource.group != _PATH_NAMED_GROUP:
        yield from _name_faults("metadata.name", name, label=resource in _NAMED_BY_LABEL)
    for key, value in (metadata.get("labels") or {}).items():
        yield from _qualified_name_faults("metadata.labels", key)
        if len(value) > 63:
            yield malformed("metadata.labels", value, "must be no more than 63 characters")
        elif value and not _QUALIFIED_NAME.match(value):
            yield malformed("metadata.labels", value, _VALUE_RULE)
    for key in metadata.get("annotations") or {}:
        yield from _qualified_name_faults("metadata.annotations", key)


def _name_faults(field: str, name: str, *, label: bool = False) -> Iterator[Cause]:
    pattern, longest, rule = (_LABEL, 63, _LABEL_RULE) if label else (_SUBDOMAIN, 253, _SUBDOMAIN_RULE)
    if len(name) > longest:
        yield malformed(field, name, f"must be no more than {longest} characters")
    if not pattern.match(name):
        yield malformed(field, name, rule)


def _qualified_name_faults(field: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.match(prefix):
        yield malformed(field, key, f"prefix part {_SUBDOMAIN_RULE}")
    if len(name) > 63:
        yield malformed(field, key, "name part must be no more than 63 characters")
    elif not _QUALIFIED_NAME.match(name):
        yield malformed(field, key, _QUALIFIED_RULE)


def _pod_faults(spec: Object) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield required("spec.containers")
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            at = f"spec.{field}[{index}]"
            yield from _container_faults(at, container, spec)
            name = container.get("name", "")
            if name and name in names:
                yield Cause("FieldValueDuplicate", f'Duplicate value: "{name}"', f"{at}.name")
            names.add(name)
    if spec.get("restartPolicy") not in _RESTART_POLICIES:
        yield unsupported("spec.restartPolicy", spec.get("restartPolicy"), _RESTART_POLICIES)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        yield malformed("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield malformed("spec.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")


def _container_faults(at: str, container: Object, spec: Object) -> Iterator[Cause]:
    name = container.get("name", "")
    if name:
        yield from _name_faults(f"{at}.name", name, label=True)
    else:
        yield required(f"{at}.name")
    if not container.get("image"):
        yield required(f"{at}.image")
    if container.get("imagePullPolicy") not in _PULL_POLICIES:
        yield unsupported(f"{at}.imagePullPolicy", container.get("imagePullPolicy"), _PULL_POLICIES)
    if container.get("terminationMessagePolicy") not in _MESSAGE_POLICIES:
        yield unsupported(
            f"{at}.terminationMessagePolicy", container.get("terminationMessagePolicy"), _MESSAGE_POLICIES
        )
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            yield required(f"{at}.env[{index}].name")
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            message = f'Not found: "{mount.get("name")}"'
            yield Cause("FieldValueNotFound", message, f"{at}.volumeMounts[{index}].name")
    yield from _resource_faults(f"{at}.resources", container.get("resources") or {})


def _resource_faults(at: str, resources: Object) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            try:
                amount = parse_quantity(value)
            except ValueError:
                yield malformed(f"{at}.{kind}[{name}]", value, "must be a quantity")
                continue
            if kind == "requests" and name in limits and amount > parse_quantity(limits[name]):
                rule = f"must be less than or equal to {name} limit of {limits[name]}"
                yield malformed(f"{at}.requests", value, rule)


_POD_MUTABLE = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations")
_POD_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def update_faults(resource: Resource, old: Object, new: Object) -> list[Cause]:
    """Changes of immutable fields between `old` and `new`."""
    check = _UPDATE_RULES.get(resource)
    return list(check(old, new)) if check else []


def _pod_update_faults(old: Object, new: Object) -> Iterator[Cause]:
    if _fixed_part(old["spec"]) != _fixed_part(new["spec"]):
        yield Cause("FieldValueForbidden", f"Forbidden: {_POD_RULE}", "spec")


def _fixed_part(spec: Object) -> Object:
    fixed = {key: value for key, value in spec.items() if key not in _POD_MUTABLE}
    for field in ("containers", "initContainers"):
        if field in spec:
            fixed[field] = [{**container, "image": ""} for container in spec[field]]
    return fixed


def _immutable_data_faults(old: Object, new: Object) -> Iterator[Cause]:
    if old.get("immutable") and any(old.get(field) != new.get(field) for field in ("data", "binaryData")):
        yield Cause("FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set", "data")


def _secret_update_faults(old: Object, new: Object) -> Iterator[Cause]:
    if old.get("type") != new.get("type"):
        yield malformed("type", new.get("type"), "field is immutable")
    yield from _immutable_data_faults(old, new)


_UPDATE_RULES: dict[Resource, Callable[[Object, Object], Iterator[Cause]]] = {
    PODS: _pod_update_faults,
    SECRETS: _secret_update_faults,
    CONFIG_MAPS: _immutable_data_faults,
}
