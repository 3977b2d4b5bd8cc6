"""Fixtures of the tests of views."""

from datetime import datetime

import pytest

from kubeprobe.store import Store
from tests.services.views.given import World


@pytest.fixture
def world(store: Store, now: datetime) -> World:
    """An empty store and methods that fill it."""
    return World(store, now)
