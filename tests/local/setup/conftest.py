"""The command line, a store of each kind, and a local cluster that it has added."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubeprobe.localcluster import LocalClusterSettings
from tests.local.execution.environment import LocalThread
from tests.services.cli.conftest import CommandLine, kubeprobe, quiet_logs

__all__ = ["kubeprobe", "quiet_logs"]

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that lists which folders are images of the local cluster."""
    return tmp_path_factory.mktemp("images") / "listing"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[LocalThread]:
    """A local cluster."""
    started = LocalThread(LocalClusterSettings(directory=tmp_path_factory.mktemp("local"), image_listing=images))
    yield started
    started.stop()


@pytest.fixture
def command_line(kubeprobe: CommandLine, local: LocalThread) -> CommandLine:
    """The built-in probes, bound to a cluster `prod-1` whose probes run in a namespace that it does not have yet."""
    kubeprobe("apply", "--built-in")
    namespace = f"probing-{kubeprobe.folder.name[-12:].strip('-_').replace('_', '-').lower()}"
    file = str(local.cluster.kubeconfig)
    kubeprobe("cluster", "add", "prod-1", "--kubeconfig", file, "--namespace", namespace)
    return kubeprobe


@pytest.fixture
def kubeconfig(local: LocalThread) -> Path:
    return local.cluster.kubeconfig
