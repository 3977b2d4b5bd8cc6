"""Selectors, durations, quantities and environment variables of the catalog, and parameters of manual runs."""

import contextlib
import json

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from kubeprobe.catalog import Catalog, RunIdentity, check_parameters, render_pod
from kubeprobe.catalog.model import LabelSelector, ProbeCaseSpec, ProbeTemplateSpec, format_duration, parse_duration
from kubeprobe.catalog.model.base import Quantity
from kubeprobe.catalog.policy import DEFAULT_POLICY
from kubeprobe.errors import InvalidInputError

_QUANTITY: TypeAdapter[str] = TypeAdapter(Quantity)
_CATALOG = Catalog(
    templates={"t": ProbeTemplateSpec.model_validate({"image": "a"})},
    cases={"c": ProbeCaseSpec.model_validate({"template": "t", "kind": "blackbox"})},
)
SEEDS: tuple[bytes, ...] = (
    b"1h30m",
    b"2d",
    b"100m",
    b"64Mi",
    b'{"matchLabels": {"region": "eu"}, "matchExpressions": [{"key": "a/b", "operator": "In", "values": ["1"]}]}',
    b'{"TARGET_URL": "https://example.com", "A": "\\ud83d\\ude00"}',
)


def fuzz(data: bytes) -> None:
    """Every input is accepted, or refused by the documented error."""
    text = data.decode(errors="replace")
    with contextlib.suppress(PydanticCustomError):
        assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)
    _accepts(_QUANTITY, text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        if selector := _accepts(TypeAdapter(LabelSelector), value):
            selector.matches({"region": "eu"})
            str(selector)
        _render(value)


def _accepts(adapter: TypeAdapter, value: object) -> object:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _render(parameters: dict) -> None:
    try:
        found = check_parameters(parameters)
    except InvalidInputError:
        return
    json.dumps(
        render_pod(_CATALOG, RunIdentity("r", "i", "c", "x", "manual", parameters=found), DEFAULT_POLICY)
    ).encode()
