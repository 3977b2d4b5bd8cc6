"""Fixtures of the trigger tests."""

from datetime import datetime
from pathlib import Path

import pytest

from kubeprobe.settings import Settings
from kubeprobe.store import Store
from tests.services.trigger.given import World


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def world(store: Store, now: datetime) -> World:
    """A store with one cluster."""
    made = World(store, now)
    made.cluster("prod-1", region="eu")
    return made
