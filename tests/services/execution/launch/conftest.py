"""A world with a reachable cluster."""

import pytest

from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import ExecutionWorld


@pytest.fixture
def world(world: ExecutionWorld, api: OddApi) -> ExecutionWorld:
    """The API of the reachable cluster `there`."""
    world.reach("there", api.url)
    return world
