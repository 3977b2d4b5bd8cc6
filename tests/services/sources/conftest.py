"""A store, and a real repository with a small catalog."""

from datetime import datetime
from pathlib import Path

import pytest

from kubeprobe.settings import Settings
from kubeprobe.sources import SyncContext
from kubeprobe.store import Store
from tests.harness.repository import Repository
from tests.services.sources.given import BINDING, CASE, CLUSTER, TEMPLATE, World


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """One template, case, binding and cluster below `catalog`, and a file outside of it."""
    made = Repository(tmp_path / "git")
    made.push(
        catalog__probes_yaml=TEMPLATE,
        catalog__dns_yaml=f"# a comment\n{CASE}",
        catalog__core_yaml=BINDING,
        catalog__prod_yaml=CLUSTER,
        README="a team's probes",
    )
    return made


@pytest.fixture
def world(store: Store, settings: Settings, repository: Repository, now: datetime) -> World:
    return World(SyncContext.of(store, settings), repository, now)
