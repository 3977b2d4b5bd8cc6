"""From pydantic's validation errors to catalog problems: line, path, expectation, nearest valid name."""

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kubeprobe.catalog.problems import PROBLEM_TYPE, CatalogProblem, nearest_name, one_of, shorten
from kubeprobe.catalog.yamlfile import RawDocument, YamlPath, show_path
from kubeprobe.masking import mask_secrets

_MAX_PROBLEMS = 100
"""Of one document."""
_QUOTED = re.compile(r"'([^']*)'")
_IN_QUOTES = re.compile(r'"[^"]*"$')
_SHAPES = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


def explain(error: ValidationError, model: type[BaseModel], raw: RawDocument, document: str) -> list[CatalogProblem]:
    """A problem for each error that pydantic found in a document, up to a limit: each costs a search of names."""
    # pydantic also reports a list as too short if its items are invalid.
    every = error.errors(include_url=False)
    real = [found for found in every if found["type"] != "too_short" or not found["input"]]
    problems = [(found["type"], _explain_one(found, model, raw, document)) for found in real[:_MAX_PROBLEMS]]
    if len(real) > _MAX_PROBLEMS:
        message = f"{len(real) - _MAX_PROBLEMS:,} more problems in this document"
        problems.append(("", CatalogProblem(raw.file, raw.line, document, "", message, "fewer")))
    misspelt = {
        f"{problem.path.rpartition('.')[0]}.{problem.nearest}"
        for kind, problem in problems
        if kind == "extra_forbidden"
    }
    return [problem for kind, problem in problems if kind != "missing" or problem.path not in misspelt]


def _explain_one(found: ErrorDetails, model: type[BaseModel], raw: RawDocument, document: str) -> CatalogProblem:
    path: YamlPath = tuple(part for part in found["loc"] if part != "[key]")
    message, expected, near = (mask_secrets(shorten(text)) for text in _describe_error(found, model, path))
    expected = quote_as_written(expected, raw, path)
    return CatalogProblem(raw.file, raw.line_of(path), document, show_path(path), message, expected, near)


def quote_as_written(expected: str, raw: RawDocument, path: YamlPath) -> str:
    """The expectation of a string in quotes, with the text of the file: `"0400"`, not `"256"`."""
    written = raw.written.get(path)
    return _IN_QUOTES.sub(lambda _: f'"{shorten(written)}"', expected) if written else expected


def _describe_error(found: ErrorDetails, model: type[BaseModel], path: YamlPath) -> tuple[str, str, str]:
    """Message, expectation and nearest valid name."""
    context, kind, value = found.get("ctx", {}), found["type"], found["input"]
    if kind == PROBLEM_TYPE:
        return context["message"], context["expected"], context["near"]
    if kind == "extra_forbidden":
        fields = list(_fields_at(model, path[:-1]))
        return f"unknown field {shorten(repr(path[-1]))}", one_of(fields), nearest_name(path[-1], fields)
    if kind in {"literal_error", "enum"}:
        names = _QUOTED.findall(context["expected"])
        return f"{_show(value)} is not allowed", one_of(names), nearest_name(value, names)
    described = _field_description(model, path)
    messages = {
        "missing": ("this field is missing", described or "a value"),
        "too_short": ("the list is empty", "at least one item"),
        "string_pattern_mismatch": (f"{_show(value)} is invalid", described or context.get("pattern", "")),
    }
    if kind in _SHAPES:
        shape = _SHAPES[kind]
        message = "the value is missing" if value is None else f"{_show(value)} is not {shape}"
        messages[kind] = (message, f"{shape}: {described}" if described else shape)
    other = (f"{_show(value)} is invalid", re.sub(r"^Input should be ", "", found["msg"]))
    return (*messages.get(kind, other), "")


def _show(value: Any) -> str:
    """The value, shortened; `a mapping` or `a list` for those."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    shown = mask_secrets(repr(value))  # before it is cut: a password is recognised by what follows it
    return shown if len(shown) <= 60 else shown[:57] + "...'"


def _fields_at(model: type[BaseModel], path: YamlPath) -> Iterator[str]:
    """The valid field names at a path, as YAML spells them."""
    found = _model_at(model, path)
    if found is not None:
        for name, field in found.model_fields.items():
            yield field.alias or name


def _model_at(model: type[BaseModel], path: YamlPath) -> type[BaseModel] | None:
    """The model at a path, if there is one."""
    here: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or here is None:
            continue
        by_alias = {field.alias or name: field for name, field in here.model_fields.items()}
        here = _model_within(by_alias[part].annotation) if part in by_alias else None
    return here


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The model in `X`, `X | None` or `tuple[X, ...]`; no field has two."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_within(part))), None)


def _field_description(model: type[BaseModel], path: YamlPath) -> str:
    parent = _model_at(model, path[:-1])
    for name, field in (parent.model_fields if parent else {}).items():
        if path and path[-1] == (field.alias or name):
            return field.description or ""
    return ""
