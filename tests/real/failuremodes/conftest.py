"""Fixtures: env on the real cluster."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeprobe.store import Store
from tests.local.execution.conftest import MakeEnvironment, make_environment, sqlite
from tests.local.execution.environment import NAMESPACE, Environment, LocalThread

__all__ = ["make_environment", "sqlite"]


@pytest.fixture
def env(make_environment: MakeEnvironment, sqlite: Store, kubeconfig: Path) -> Environment:
    """Environment whose cluster, named `local` all the same, is the test bed's."""
    create = ["kubectl", "--kubeconfig", str(kubeconfig), "create", "namespace", NAMESPACE]
    subprocess.run(create, capture_output=True, check=False)  # most often it is there already
    real: Any = SimpleNamespace(cluster=SimpleNamespace(kubeconfig=kubeconfig))
    return make_environment(sqlite, cast(LocalThread, real))
