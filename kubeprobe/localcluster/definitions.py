"""Validation of a CustomResourceDefinition: only the fields needed to serve its kind. Pure."""

from typing import Any

from kubeprobe.localcluster.errors import Cause
from kubeprobe.localcluster.objects import Object

_REQUIRED = (("group",), ("scope",), ("names", "plural"), ("names", "kind"), ("versions",))


def faults_of_definition(definition: Object) -> list[Cause]:
    """Every missing field, and a name that is not `<plural>.<group>`."""
    spec = definition.get("spec") or {}
    faults = [
        Cause("FieldValueRequired", "Required value", f"spec.{'.'.join(path)}")
        for path in _REQUIRED
        if not _at(spec, path)
    ]
    if not faults:
        expected = f"{spec['names']['plural']}.{spec['group']}"
        name = definition["metadata"].get("name", "")
        if name != expected:
            message = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
            faults.append(Cause("FieldValueInvalid", message, "metadata.name"))
    return faults


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
