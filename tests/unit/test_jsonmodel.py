"""The JSON form of all views: camelCase, times in UTC, durations in seconds, with a schema."""

import inspect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import computed_field

from kubeprobe import views
from kubeprobe.jsonmodel import JsonModel, Page, from_json, json_schema, to_json
from kubeprobe.views import RunView

VIEWS = [found for _, found in inspect.getmembers(views, inspect.isclass) if issubclass(found, JsonModel)]


@dataclass(frozen=True)
class Example(JsonModel):
    due_at: datetime
    took: timedelta
    labels: dict[str, str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_late(self) -> bool:
        return self.took > timedelta(seconds=1)


EXAMPLE = Example(datetime(2026, 1, 1, 12, 30, tzinfo=UTC), timedelta(milliseconds=1500), {"my_key": "v"})


def test_names_are_camel_case_and_mapping_keys_are_unchanged() -> None:
    assert to_json(EXAMPLE) == {
        "dueAt": "2026-01-01T12:30:00Z",
        "took": 1.5,
        "labels": {"my_key": "v"},
        "isLate": True,
    }


def test_json_can_be_read_back() -> None:
    assert from_json(Example, to_json(EXAMPLE)) == EXAMPLE
    assert from_json(Example, to_json(EXAMPLE) | {"ofANewerVersion": 1}) == EXAMPLE
    with pytest.raises(ValueError, match="dueAt"):
        from_json(Example, {})


def test_pages_contain_their_cursor() -> None:
    assert to_json(Page((EXAMPLE,), "next")) == {"items": [to_json(EXAMPLE)], "next": "next"}


def test_a_dataclass_without_a_json_form_is_refused() -> None:
    @dataclass
    class Plain:
        some_name: int

    with pytest.raises(TypeError, match="inherit JsonModel"):
        to_json([Plain(1)])


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_every_view_has_a_schema_of_its_camel_case_names(view: type[JsonModel]) -> None:
    schema = json_schema(view)
    names = schema["properties"]
    assert names
    assert not [name for name in names if "_" in name]
    assert set(schema["required"]) == set(names)


def test_properties_are_part_of_the_schema() -> None:
    names: dict[str, Any] = json_schema(RunView)["properties"]
    assert {"subject", "errors", "ranFor"} <= set(names)
