"""The Python client passes the test vectors of all clients."""

import pytest

from tests.unit.client.vectors import Vector, encode, read, run_as_json


@pytest.mark.parametrize("vector", read("reports.json"), ids=lambda vector: vector["name"])
def test_reports_match_the_shared_vectors(vector: Vector) -> None:
    assert encode(vector).decode() == vector["bytes"]


@pytest.mark.parametrize("vector", read("runs.json"), ids=lambda vector: vector["name"])
def test_runs_match_the_shared_vectors(vector: Vector) -> None:
    expected = vector["run"]
    assert run_as_json(vector["environment"], vector["started"], list(expected["remaining"])) == expected
