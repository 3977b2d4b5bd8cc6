"""The one form of JSON that KubeProbe writes: camelCase names, ISO 8601 times in UTC, durations in seconds.

A dataclass that inherits `JsonModel` has that form, with its `computed_field`s, and a JSON Schema for it. Keys of
mappings (labels, parameters, metrics) are people's own and stay as they are.
"""

from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel


class JsonModel:
    """Base of dataclasses that are written as JSON."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        ser_json_timedelta="float",
        json_schema_serialization_defaults_required=True,
        hide_input_in_errors=True,
    )


ModelT = TypeVar("ModelT", bound=JsonModel)
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Page(JsonModel, Generic[ItemT]):
    """A part of a list."""

    items: tuple[ItemT, ...]
    next: str | None = None
    """The cursor after which the next page begins, to be passed on as it is; None: this is the last page."""


def to_json(value: Any) -> Any:
    """A model, or a sequence or mapping of them, as JSON values."""
    if isinstance(value, Page):
        return {"items": to_json(value.items), "next": value.next}
    if isinstance(value, JsonModel):
        return _adapter(type(value)).dump_python(value, mode="json", by_alias=True)
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no JSON form: let it inherit JsonModel")
    return _adapter(object).dump_python(value, mode="json")


def from_json(kind: type[ModelT], value: Any) -> ModelT:
    """The model that was written as JSON; names that it doesn't know are ignored. Raises ValueError."""
    found: ModelT = _adapter(kind).validate_python(value)
    return found


def json_schema(kind: type[JsonModel]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a model as it is written."""
    return _adapter(kind).json_schema(mode="serialization", by_alias=True)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Building one takes as long as a thousand uses of it."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
