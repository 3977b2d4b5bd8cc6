"""Generate `schema.json`: what PodSpec reaches in an API server's OpenAPI v3 document of core/v1.

    kubectl get --raw /openapi/v3/api/v1 | python -m kubeprobe.catalog.podspec v1.34.4

The argument is the server's version (`kubectl version`). Fields and types that only the installed client library
`kubernetes` has, as it is made for newer versions, are added without enums.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kubernetes.client import models

from kubeprobe.catalog.podspec import SCHEMA

ROOT = "PodSpec"
_PREFIXES = ("io.k8s.api.core.v1.", "io.k8s.apimachinery.pkg.apis.meta.v1.")
_WELL_KNOWN = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "string",
}
_PYTHON = {"str": "string", "bool": "boolean", "int": "int64", "float": "number", "datetime": "string", "object": "any"}
_FROM_CLIENT = {"IntOrString": "int-or-string"}
Json = dict[str, Any]


def main(server_version: str) -> None:
    """Read the document from standard input, write `schema.json`."""
    Path(str(SCHEMA)).write_text(generate(json.load(sys.stdin), server_version), encoding="utf-8")


def generate(document: Json, server_version: str) -> str:
    """The schema as JSON."""
    schemas = document["components"]["schemas"]
    types: dict[str, Json] = {}
    _add_type(ROOT, schemas, types)
    added: list[str] = []
    _add_newer_fields(types, added)
    schema = {
        "source": "OpenAPI of Kubernetes, Copyright The Kubernetes Authors, Apache-2.0 "
        "(https://github.com/kubernetes/kubernetes)",
        "version": server_version,
        "client": f"kubernetes {version('kubernetes')}",
        "fieldsOfClientOnly": sorted(added),
        "types": dict(sorted(types.items())),
    }
    return _one_line_each(schema)


def _one_line_each(schema: Json) -> str:
    """As JSON with a line for each type, so that a new version's changes are readable."""
    types = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in schema.pop("types").items())
    about = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in schema.items())
    return f'{{\n{about} "types": {{\n{types}\n }}\n}}\n'


def _name_of(reference: str) -> str:
    full = reference.rpartition("/")[2]
    for prefix in _PREFIXES:
        full = full.removeprefix(prefix)
    return full


def _add_type(name: str, schemas: Json, types: dict[str, Json]) -> None:
    if name in types:
        return
    found = next(schemas[prefix + name] for prefix in _PREFIXES if prefix + name in schemas)
    types[name] = {"fields": {}}
    if required := found.get("required"):
        types[name]["required"] = sorted(required)
    for field, described in found.get("properties", {}).items():
        types[name]["fields"][field] = _type_of(described, schemas, types)


def _type_of(described: Json, schemas: Json, types: dict[str, Json]) -> Any:
    """The name of a scalar, `{ref}`, `{list}`, `{map}` or `{enum}`."""
    for part in described.get("allOf", ()):
        described = {**described, **part}
    if reference := described.get("$ref"):
        full = reference.rpartition("/")[2]
        if full in _WELL_KNOWN:
            return _WELL_KNOWN[full]
        name = _name_of(reference)
        _add_type(name, schemas, types)
        return {"ref": name}
    kind: str = described["type"]
    if kind == "array":
        return {"list": _type_of(described["items"], schemas, types)}
    if kind == "object":
        return {"map": _type_of(described["additionalProperties"], schemas, types)}
    if "enum" in described:
        return {"enum": sorted(described["enum"])}
    return described.get("format", "int64") if kind == "integer" else kind


def _add_newer_fields(types: dict[str, Json], added: list[str]) -> None:
    """Fields of the client's models that the server does not have, and the types that they need."""
    waiting = list(types)
    while waiting:
        name = waiting.pop()
        model = getattr(models, f"V1{name}", None) or getattr(models, f"Core{name}", None)
        if model is None:
            continue
        fields = types[name]["fields"]
        for attribute, field in model.attribute_map.items():
            if field not in fields:
                added.append(f"{name}.{field}")
                fields[field] = _type_from_client(model.openapi_types[attribute], types, waiting)


def _type_from_client(text: str, types: dict[str, Json], waiting: list[str]) -> Any:
    if text.startswith("list["):
        return {"list": _type_from_client(text[5:-1], types, waiting)}
    if text.startswith("dict("):
        return {"map": _type_from_client(text[5:-1].partition(", ")[2], types, waiting)}
    name = text.removeprefix("V1")
    if text in _PYTHON or name in _FROM_CLIENT:
        return _PYTHON.get(text) or _FROM_CLIENT[name]
    if name not in types:
        types[name] = {"fields": {}}
        waiting.append(name)
    return {"ref": name}


if __name__ == "__main__":
    main(*sys.argv[1:])
