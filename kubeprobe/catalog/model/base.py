"""The field types of all kinds: names, durations, environment variables, label selectors."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from kubeprobe.catalog.problems import invalid
from kubeprobe.fleet.labels import key_problem, name_problem, value_problem
from kubeprobe.fleet.selectors import Selector, selector_from
from kubeprobe.vocabulary import API_VERSION, ENV_PREFIX

_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUANTITY = re.compile(r"\d+(\.\d+)?([munkMGTPE]|[KMGTPE]i|[eE]\d+)?")
_DURATION = re.compile(r"(?=\d)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")
_DURATION_HELP = "a whole duration such as 30s, 5m, 1h30m or 2d"
_MAX_DURATION = timedelta(days=366)


class Spec(BaseModel):
    """Base of all catalog models: frozen, camelCase in YAML, unknown fields forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, hide_input_in_errors=True)

    def as_json(self) -> dict[str, Any]:
        """Plain values, camelCase, without fields at their default: the form that is stored and compared."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _name(value: str) -> str:
    if problem := name_problem(value):
        raise invalid(problem, near=re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:63].strip("-"))
    return value


def _env_name(value: str) -> str:
    if not _ENV_NAME.fullmatch(value):
        raise invalid(
            f"{value!r} is not an environment variable name",
            expected="letters, digits and '_', not starting with a digit, such as TARGET_URL",
            near=re.sub(r"[^A-Z0-9]+", "_", value.upper()).strip("_").lstrip("0123456789_"),
        )
    if value.startswith(ENV_PREFIX):
        raise invalid(f"{value!r} is reserved", expected=f"a name that does not start with {ENV_PREFIX}")
    return value


def _text(value: object) -> object:
    if isinstance(value, bool | int | float):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        raise invalid(f"{shown} is not a string", expected=f'a string; put it in quotes: "{shown}"')
    return value


def _label_key(value: str) -> str:
    if problem := key_problem(value):
        raise invalid(problem)
    return value


def _label_value(value: str) -> str:
    if problem := value_problem(value):
        raise invalid(problem)
    return value


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a timedelta. Raises the error of a validator if it is not a positive duration."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise invalid(f"{text!r} is not a duration", expected=_DURATION_HELP)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not 0 < total <= _MAX_DURATION.total_seconds():
        raise invalid(f"{text!r} is out of range", expected="a duration from 1s to 366d")
    return timedelta(seconds=total)


def format_duration(value: timedelta) -> str:
    """A whole number of seconds in the usual form: `1h30m`, not `90m` or `5400s`."""
    left, text = int(value.total_seconds()), ""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    near = f"{value}s" if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""
    raise invalid(
        f"{value!r} has no unit" if near else f"{value!r} is not a duration", expected=_DURATION_HELP, near=near
    )


def _quantity(value: object) -> object:
    text = str(value)
    if isinstance(value, bool) or not _QUANTITY.fullmatch(text):
        raise invalid(f"{value!r} is not a quantity", expected="a Kubernetes quantity such as 100m, 0.5, 64Mi or 2G")
    return text


def _schema(description: str, pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": description})


Name = Annotated[
    str,
    AfterValidator(_name),
    _schema("a Kubernetes name (RFC 1123 label)", f"^{_NAME}$"),
]
Text = Annotated[str, BeforeValidator(_text)]
EnvName = Annotated[str, AfterValidator(_env_name)]
Environment = Annotated[
    dict[EnvName, Text],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^(?!{ENV_PREFIX}){_ENV_NAME.pattern}$"},
            "additionalProperties": {"type": "string"},
        }
    ),
]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, BeforeValidator(_text), AfterValidator(_label_value)]
Labels = dict[LabelKey, LabelValue]
Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    WithJsonSchema({"type": ["string", "number"], "description": "a Kubernetes quantity such as 100m or 64Mi"}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    _schema(_DURATION_HELP, r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"),
]


class Metadata(Spec):
    """The name of a document."""

    name: Name


class Document(Spec):
    """One YAML document. Each kind narrows `kind` and `spec`."""

    api_version: Literal["kubeprobe.io/v1"] = Field(description=f"always {API_VERSION}")
    metadata: Metadata


class MatchExpression(Spec):
    """One requirement on a label, as in Kubernetes."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[LabelValue, ...] = ()

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if self.operator in {"In", "NotIn"} and not self.values:
            raise invalid(f"{self.operator} has no values", expected=f"values: [..] beside operator: {self.operator}")
        if self.operator in {"Exists", "DoesNotExist"} and self.values:
            raise invalid(f"{self.operator} takes no values", expected="no values, or operator: In or NotIn")
        return self


class LabelSelector(Spec):
    """Selects clusters (or nodes) by label, as in Kubernetes. All requirements must match; `{}` selects all."""

    match_labels: Labels = Field(default={}, description="labels that must have exactly these values")
    match_expressions: tuple[MatchExpression, ...] = Field(default=(), description="further requirements")

    def __str__(self) -> str:
        """As text for `kubectl -l`; empty if it selects all."""
        return str(self._selector)

    @cached_property
    def _selector(self) -> Selector:
        return selector_from(self.match_labels, [found.model_dump() for found in self.match_expressions])

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return self._selector.matches(labels)
