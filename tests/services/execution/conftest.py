"""Fixtures of the execution tests."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from kubeprobe.catalog import CatalogCache
from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from tests.services.execution.apiserver import OddApi, serving
from tests.services.execution.given import Clock, ExecutionWorld

INSTALLATION = "01hinstallation00000000000"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def clock(now: datetime) -> Clock:
    return Clock(now)


@pytest.fixture
def cipher() -> Cipher:
    return Cipher(Fernet.generate_key().decode())


@pytest.fixture
def world(store: Store, now: datetime, cipher: Cipher) -> ExecutionWorld:
    """A store with a catalog and one cluster, which gets no requests."""
    made = ExecutionWorld(store, now, cipher)
    made.cluster("prod-1")
    return made


@pytest.fixture
def api() -> Iterator[OddApi]:
    """The API of a cluster."""
    with serving() as made:
        yield made


@pytest.fixture
def launcher(store: Store, cipher: Cipher, settings: Settings, clock: Clock) -> Iterator[Launcher]:
    """A launcher of installation INSTALLATION."""
    made = Launcher(store, CatalogCache(), ClusterClients(cipher), LoopThread(), settings, INSTALLATION, clock)
    yield made
    made.loop.run(made.clients.close())
    made.loop.close()
