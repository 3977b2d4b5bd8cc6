"""Fixtures of the tests of views."""

from datetime import datetime

import pytest

from kubeprobe.store import Store
from tests.services.views.given import World


@pytest.fixture
def world(store: Store, now: datetime) -> World:
    """A store to be filled."""
    return World(store, now)
