"""Fixtures: a local cluster for the session, and an environment with a store for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kubeprobe.clock import utc_now
from kubeprobe.localcluster import LocalClusterSettings, Script
from kubeprobe.store import Store, open_store
from kubeprobe.store.migrate import migrate
from tests.local.execution.environment import Environment, LocalThread

MakeEnvironment = Callable[..., Environment]


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalThread]:
    """A local cluster whose pods are processes."""
    started = LocalThread(LocalClusterSettings(directory=tmp_path_factory.mktemp("local"), bookmark_seconds=1))
    yield started
    started.stop()


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Callable[[Script], LocalThread]]:
    """Starts a simulated cluster (context `c0001`) whose pods follow a script."""
    with ExitStack() as stack:

        def start(script: Script) -> LocalThread:
            started = LocalThread(LocalClusterSettings(directory=tmp_path / "simulated", clusters=1, script=script))
            stack.callback(started.stop)
            return started

        yield start


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """A store for tests that are not about stores."""
    opened = open_store(f"sqlite:///{tmp_path / 'kubeprobe.db'}")
    migrate(opened, utc_now())
    yield opened
    opened.close()


@pytest.fixture
def make_environment(tmp_path: Path) -> Iterator[MakeEnvironment]:
    """Creates environments on a store and a cluster."""
    with ExitStack() as stack:

        def make(store: Store, local: LocalThread, **cluster: Any) -> Environment:
            env = Environment(store, local, tmp_path, **cluster)
            stack.callback(env.close)
            return env

        yield make


@pytest.fixture
def env(make_environment: MakeEnvironment, sqlite: Store, local: LocalThread) -> Environment:
    """An environment on SQLite and the session's local cluster."""
    return make_environment(sqlite, local)
