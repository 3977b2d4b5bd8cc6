"""Fixtures: rooms on the real cluster."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeprobe.store import Store
from tests.local.execution.conftest import MakeRooms, make_rooms, sqlite
from tests.local.execution.rooms import NAMESPACE, LocalThread, Rooms

__all__ = ["make_rooms", "sqlite"]


@pytest.fixture
def rooms(make_rooms: MakeRooms, sqlite: Store, kubeconfig: Path) -> Rooms:
    """Rooms whose cluster, named `local` all the same, is the test bed's."""
    create = ["kubectl", "--kubeconfig", str(kubeconfig), "create", "namespace", NAMESPACE]
    subprocess.run(create, capture_output=True, check=False)  # most often it is there already
    real: Any = SimpleNamespace(cluster=SimpleNamespace(kubeconfig=kubeconfig))
    return make_rooms(sqlite, cast(LocalThread, real))
