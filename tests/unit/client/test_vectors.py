"""The Python client keeps to the bytes that are shared with the other clients."""

import pytest

from tests.unit.client.vectors import Vector, encode, read, run_as_json


@pytest.mark.parametrize("vector", read("reports.json"), ids=lambda vector: vector["name"])
def test_reports_are_the_bytes_of_the_shared_vectors(vector: Vector) -> None:
    assert encode(vector).decode() == vector["bytes"]


@pytest.mark.parametrize("vector", read("runs.json"), ids=lambda vector: vector["name"])
def test_the_environment_tells_the_run_of_the_shared_vectors(vector: Vector) -> None:
    expected = vector["run"]
    assert run_as_json(vector["environment"], vector["started"], list(expected["remaining"])) == expected
